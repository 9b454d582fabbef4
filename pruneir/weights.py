"""A pruned network's weights under the names, in the layouts and in the types of the framework that trained it.

A parameter P of the framework and the tensor W that the ONNX file keeps it in differ by a transposition at most,
P = transpose(W, axes). The plan says which positions of W's axes are left, the file what their values are now. So the
framework builds its network with the new widths, loads these weights, and goes on training.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pruneir.api import Network, load
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.replay import read_plan
from pruneir.tolerance import is_float
from pruneir.weight_files import as_array, read_safetensors

Axes = tuple[int, ...]
Layout = str | Sequence[int]
"""How an ONNX tensor is turned to be a parameter: `"as is"`, `"transposed"`, the axes for `numpy.transpose`, or `""`
where nobody has said."""
Names = Mapping[str, str | tuple[str, Layout] | None]
"""By the framework's name: the ONNX tensor's, or that and its layout; None for what stays as it is."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of the ONNX file.

    array  as the file has it; None if it is in the plan alone, since a pass has folded it away
    kept   by axis: the length that it had, and the positions that are left
    """

    name: str
    array: np.ndarray | None
    kept: Mapping[int, tuple[int, np.ndarray]]

    def fits(self, parameter: np.ndarray, axes: Axes) -> bool:
        """Whether it was, before it was cut, this parameter, turned by these axes."""
        if any(axis >= parameter.ndim for axis in self.kept):
            return False
        whole: dict[int, int] = {}
        if self.array is not None:
            if self.array.ndim != parameter.ndim or is_float(self.array.dtype) != is_float(parameter.dtype):
                return False
            whole = dict(enumerate(self.array.shape))
        whole |= {axis: size for axis, (size, _) in self.kept.items()}
        return all(whole.get(axis, size) == size for axis, size in zip(axes, parameter.shape, strict=True))

    def cut(self, parameter: np.ndarray, axes: Axes) -> np.ndarray:
        """The parameter without what the plan cuts."""
        for place, axis in enumerate(axes):
            if axis in self.kept:
                parameter = parameter.take(self.kept[axis][1], place)
        return parameter


@dataclass(frozen=True, slots=True)
class _Pruned:
    """The files of one run, and what to call the network in messages."""

    graph: Graph
    plan: Plan
    source: str

    def tensor(self, name: str) -> _Tensor:
        """A tensor by its name in the ONNX file. PruneirError if the plan leaves another one."""
        tensor = _Tensor(name, self.graph.constant(name), self.plan.kept.get(name, {}))
        if (array := tensor.array) is not None:
            for axis, (_, kept) in tensor.kept.items():
                if axis >= array.ndim or array.shape[axis] != len(kept):
                    raise PruneirError(
                        f"{self.source} is not what the plan leaves: '{name}' is {list(array.shape)} there, and the "
                        f"plan keeps {len(kept)} on axis {axis}; give the files of one run"
                    )
        return tensor

    @property
    def constants(self) -> set[str]:
        """The tensors that are read."""
        held = (name for name in self.graph.values if self.graph.constant(name) is not None)
        return {name for name in held if self.graph.users(name)}


def export_weights(
    plan: Plan | str | os.PathLike[str],
    network: Network,
    like: Mapping[str, Any] | str | os.PathLike[str],
    *,
    names: Names | None = None,
    values: Literal["pruned", "original"] = "pruned",
) -> dict[str, Any]:
    """The weights of a pruned network as the framework that trained it keeps them.

    plan     of the run: `Optimized.plan`, or the path of `OUT.plan.json`
    network  what the run wrote: `Optimized.graph`, or the path of `OUT.onnx`
    like     the framework's parameters before the cut, by name: numpy arrays, torch tensors (`net.state_dict()`), or
             the path of a `.safetensors` file
    names    where a parameter's name or layout in the ONNX file differs; names that `like` lacks are added
    values   `pruned` are the ONNX file's, with what passes have changed; `original` are those of `like`, only sliced

    The result has the names, types and order of `like`; torch tensors come back as torch tensors on their device.
    Integers that the ONNX file lacks (`num_batches_tracked`) stay as they are. A matrix is transposed where only that
    fits its shape, and a square one where that brings it nearer to the values of `like`.

    PruneirError for a parameter that the ONNX file lacks, or holds in another shape; for a square matrix that could be
    either way round; for a tensor that passes changed and that is in no parameter; for a plan of another network.
    """
    source = os.fspath(network) if isinstance(network, (str, os.PathLike)) else "the pruned network"
    pruned = _Pruned(load(network), plan if isinstance(plan, Plan) else read_plan(Path(plan)), source)
    parameters = read_safetensors(like) if isinstance(like, (str, os.PathLike)) else like
    homes = _homes(parameters, names or {}, pruned.graph)
    tensors = {key: pruned.tensor(name) for key, (name, _) in homes.items()}
    _require_found(tensors, parameters, pruned, sliced=values == "original")
    if values == "pruned":
        _require_placed({tensor.name for tensor in tensors.values()}, pruned)
    weights = dict(parameters)
    for key, tensor in tensors.items():
        layout = homes[key][1]
        if key not in parameters:
            weights[key] = _added(tensor, layout, parameters)
            continue
        before = as_array(parameters[key])
        axes = _axes(key, before, tensor, layout, source)
        if values == "pruned" and tensor.array is not None:
            weights[key] = _typed(tensor.array.transpose(axes), parameters[key])
        else:
            weights[key] = _typed(tensor.cut(before, axes), parameters[key])
    return weights


def _homes(parameters: Mapping[str, Any], names: Names, graph: Graph) -> dict[str, tuple[str, Layout]]:
    """Name in the ONNX file and layout, by the framework's name, of all parameters that do not stay as they are."""
    homes: dict[str, tuple[str, Layout]] = {}
    for key in {**parameters, **names}:
        home = names.get(key, key)
        counter = key not in names and graph.constant(key) is None and not is_float(as_array(parameters[key]).dtype)
        if home is not None and not counter:
            homes[key] = (home, "") if isinstance(home, str) else home
    return homes


def _require_found(
    tensors: Mapping[str, _Tensor], parameters: Mapping[str, Any], pruned: _Pruned, *, sliced: bool
) -> None:
    """PruneirError for parameters that the file lacks; where they are only `sliced`, the plan is enough."""
    lost = [key for key, tensor in tensors.items() if tensor.array is None and not (sliced and tensor.kept)]
    if not lost:
        return
    key, name, source = lost[0], tensors[lost[0]].name, pruned.source
    copies = sorted(each for each in pruned.constants if each.startswith(f"{name}@"))
    if copies:
        raise PruneirError(
            f"{source}: '{name}' was copied per use ({', '.join(copies)}), since its uses are no longer equal; give "
            f"each of them a parameter of its own, and say which by names={{'{key}': '{copies[0]}'}}"
        )
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    free = sorted(pruned.constants - {tensor.name for tensor in tensors.values()})
    alike = [each for each in free if key in parameters and _could_be(pruned.tensor(each), as_array(parameters[key]))]
    hint = f" (perhaps '{alike[0]}')" if alike else ""
    raise PruneirError(
        f"{source} has no tensor '{name}'{more}: renamed, computed with others, or a BatchNorm's that was folded. Give "
        f"names={{'{key}': 'NAME'}} where it is called otherwise{hint}, ('NAME', 'transposed') where it is turned too, "
        "None to keep it; for BatchNorms, export them alive (docs/export.md), and run fold-bn after this"
    )


def _could_be(tensor: _Tensor, parameter: np.ndarray) -> bool:
    return parameter.ndim > 0 and any(tensor.fits(parameter, axes) for axes in _layouts(parameter.ndim, ""))


def _require_placed(claimed: set[str], pruned: _Pruned) -> None:
    """PruneirError for what a pass changed or made and no parameter takes: the framework would compute without it."""
    for name in sorted((pruned.plan.changed & pruned.constants) - claimed):
        array, reader = pruned.graph.constant(name), pruned.graph.users(name)[0]
        if array is not None and is_float(array.dtype):
            raise PruneirError(
                f"{pruned.source}: '{name}' {list(array.shape)}, which {reader.label} ({reader.type}) reads, is in no "
                f"parameter. Give the framework's network one for it (a bias, say), and names={{'PARAMETER': '{name}'}}"
                "; or prune with absorb=false, which makes no biases"
            )


def _axes(key: str, parameter: np.ndarray, tensor: _Tensor, layout: Layout, source: str) -> Axes:
    """How the tensor has to be turned to be the parameter."""
    fitting = [axes for axes in _layouts(parameter.ndim, layout) if tensor.fits(parameter, axes)]
    if not fitting:
        left = "not there" if tensor.array is None else f"{tensor.array.dtype} {list(tensor.array.shape)}"
        cuts = "".join(f", {len(kept)} of {size} on axis {axis}" for axis, (size, kept) in sorted(tensor.kept.items()))
        raise PruneirError(
            f"'{key}' is {parameter.dtype} {list(parameter.shape)} and cannot be '{tensor.name}' of {source}, which is "
            f"{left}{cuts}; say in names which tensor it is, or how that is turned, as ('{tensor.name}', (1, 0))"
        )
    if len(fitting) == 1 or tensor.array is None:
        return fitting[0]
    near, far = sorted((_distance(tensor, parameter, axes), axes) for axes in fitting)
    if 2 * near[0] < far[0]:
        return near[1]
    if np.array_equal(tensor.array, tensor.array.T):
        return fitting[0]
    raise PruneirError(
        f"'{key}' is square, {list(parameter.shape)}, and its values have changed, so it could be '{tensor.name}' or "
        f"its transpose; say which by names={{'{key}': ('{tensor.name}', 'as is')}} or 'transposed'"
    )


def _layouts(rank: int, layout: Layout) -> list[Axes]:
    """The ways in which a tensor may be turned to be a parameter."""
    straight = tuple(range(rank))
    if layout == "":
        return [straight, straight[::-1]] if rank == 2 else [straight]
    known = {"as is": straight, "transposed": straight[::-1]}
    axes = known.get(layout, ()) if isinstance(layout, str) else tuple(layout)
    if sorted(axes) != list(straight):
        raise PruneirError(
            f"names: {layout!r} turns no tensor of rank {rank}; say 'as is', 'transposed' or the axes for "
            f"numpy.transpose, such as {straight[::-1]}"
        )
    return [axes]


def _distance(tensor: _Tensor, parameter: np.ndarray, axes: Axes) -> float:
    assert tensor.array is not None
    before = tensor.cut(parameter, axes).astype(np.float64)
    return float(np.linalg.norm(tensor.array.transpose(axes).astype(np.float64) - before))


def _added(tensor: _Tensor, layout: Layout, parameters: Mapping[str, Any]) -> Any:
    """A tensor for which there was no parameter, in the type that the others have."""
    assert tensor.array is not None
    turned = tensor.array.transpose(_layouts(tensor.array.ndim, layout)[0])
    others = (other for other in parameters.values() if is_float(as_array(other).dtype) == is_float(turned.dtype))
    return _typed(turned, next(others, turned))


def _typed(array: np.ndarray, parameter: Any) -> Any:
    """An array in the type of a parameter, and a tensor if that is one."""
    if hasattr(parameter, "new_tensor"):
        return parameter.new_tensor(array if hasattr(np, array.dtype.name) else array.astype(np.float32))
    return np.array(array, as_array(parameter).dtype, order="C")
