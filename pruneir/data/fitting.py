"""Whether arrays fit the graph's inputs, and what makes them fit: a channel axis of length 1, another element type.

An array has its samples along axis 0. Floats and integers become the input's float type, after scaling; integers
become its integer type where every one of them is in its range.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from pruneir.data.scaling import Scaling
from pruneir.errors import PruneirError
from pruneir.graph import Graph

Array = np.ndarray[Any, Any]
Feeds = Mapping[str, Array]
"""One array per graph input."""


@dataclass(frozen=True, slots=True)
class Input:
    """What the graph takes: element type and shape, None where it does not say."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None

    @property
    def is_float(self) -> bool:
        """Whether numbers are scaled for it."""
        return self.dtype.kind not in "iubOSU"

    def __str__(self) -> str:
        if self.shape is None:
            return f"input '{self.name}' says nothing of its shape"
        sizes = ["samples", *(str(dim or "any") for dim in self.shape[1:])]
        return f"input '{self.name}' takes [{','.join(sizes)}]"


def inputs_of(graph: Graph) -> dict[str, Input]:
    """What the graph takes, by name."""
    if not graph.data_inputs:
        raise PruneirError("the network has no input that data could go into")
    return {name: _input(graph, name) for name in graph.data_inputs}


def batch_size(inputs: Iterable[Input], source: str) -> int | None:
    """Samples per batch, where the graph prescribes it."""
    sizes = {i.name: i.shape[0] for i in inputs if i.shape and isinstance(i.shape[0], int)}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"'{name}' {size}" for name, size in sizes.items())
        raise PruneirError(f"{source}: the inputs have batches of different size ({shown}), so none can be made")
    return next((int(size) for size in sizes.values()), None)


def key_of(arrays: Iterable[str], name: str, inputs: Mapping[str, Input], source: str) -> str:
    """What an input's array is called: as the input, or `x` for the only one."""
    known = list(arrays)
    if name in known:
        return name
    if len(inputs) == 1 and "x" in known:
        return "x"
    also = " or 'x'" if len(inputs) == 1 and name != "x" else ""
    raise PruneirError(f"{source}: no array '{name}'{also} for that input; it has {', '.join(known) or 'none'}")


def fitted(array: Array, wanted: Input, source: str) -> Array:
    """The array with the input's rank and sizes, whatever its samples count; its numbers are not read."""
    if array.dtype.kind not in "iufb" and array.dtype != wanted.dtype:
        raise PruneirError(f"{source}: '{wanted.name}' holds {array.dtype}, not numbers")
    if not wanted.is_float and array.dtype.kind == "f":
        takes = "texts" if wanted.dtype.kind == "O" else wanted.dtype
        raise PruneirError(f"{source}: '{wanted.name}' holds {array.dtype}, but the input takes {takes}")
    if array.ndim == 0:
        raise PruneirError(f"{source}: '{wanted.name}' is a single number; samples run along axis 0")
    if wanted.shape is None or _fits(array.shape, wanted.shape):
        return array
    for axis in (1, len(wanted.shape) - 1):
        if axis > 0 and wanted.shape[axis] == 1 and array.ndim == len(wanted.shape) - 1:
            wider = np.expand_dims(array, axis)
            if _fits(wider.shape, wanted.shape):
                return wider
    raise PruneirError(f"{source}: {wanted}, but the array has shape [{','.join(map(str, array.shape))}]")


def require_counts(counts: Mapping[str, int], source: str) -> int:
    """The samples of every input, which must be as many."""
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"'{name}' {count}" for name, count in counts.items())
        raise PruneirError(f"{source}: every input needs the same number of samples; given are {shown}")
    return next(iter(counts.values()))


def require_finite(array: Array, rows: Array, name: str, source: str) -> None:
    """PruneirError at the first sample with NaN or infinity.

    rows   index of each sample in the whole, `[samples]`
    """
    if array.dtype.kind in "iubOSU":
        return
    finite = np.isfinite(array)
    if not finite.all():
        at = tuple(map(int, np.argwhere(~finite)[0]))
        what = "NaN" if np.isnan(array[at]) else "infinity"
        place = (int(rows[at[0]]), *at[1:])
        raise PruneirError(
            f"{source}: array '{name}' holds {what} in sample {place[0]}, at [{','.join(map(str, place))}]; "
            "mend the sample or leave it out"
        )


def converted(array: Array, wanted: Input, scaling: Scaling, source: str) -> Array:
    """A copy in the input's element type, scaled if that is a float."""
    if wanted.is_float and scaling.changes_numbers:
        array = scaling.apply(array.astype(np.float32), wanted.name)
    elif {array.dtype.kind, wanted.dtype.kind} <= set("iu") and not np.can_cast(array.dtype, wanted.dtype):
        range_ = np.iinfo(wanted.dtype)
        for value in (array.min(), array.max()):
            if not range_.min <= value <= range_.max:
                raise PruneirError(f"{source}: '{wanted.name}' holds {value}, but the input takes {wanted.dtype}")
    return np.array(array, wanted.dtype, order="C")


def _input(graph: Graph, name: str) -> Input:
    kind = graph.type_of(name)
    if kind is None or not kind.elem_type:
        return Input(name, np.dtype(np.float32), None)
    return Input(name, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)), kind.shape)


def _fits(shape: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> bool:
    if len(shape) != len(wanted) or not shape:
        return False
    return all(not isinstance(w, int) or w == n for n, w in zip(shape[1:], wanted[1:], strict=True))
