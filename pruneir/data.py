"""Data to calibrate on, to compare on, and to score: batches of samples by graph input, with or without labels.

A `.npz` file has one array per graph input, under the input's name, or `x` for the only one; samples run along axis 0.
A channel axis of length 1 is inserted where it is the only thing missing. Integers become the input's type, then

    x ← (x · scale − mean) / std,

each where given, mean and std per channel or one number for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from onnx import helper

from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.scaling import Scaling

Array = np.ndarray[Any, Any]
Feeds = Mapping[str, Array]
"""One array per graph input."""
Shape = tuple[int | str | None, ...]

_CHUNK = 256
"""Samples that are looked through at a time."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples.

    feeds   one array per graph input
    labels  one per sample, if there are any
    count   samples that count; those behind only fill up a batch of fixed size
    """

    feeds: dict[str, Array]
    labels: Array | None
    count: int


@dataclass(frozen=True, slots=True)
class _Input:
    """What the graph takes: element type and shape."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape | None

    @property
    def is_float(self) -> bool:
        return self.dtype.kind not in "iub"


@dataclass(frozen=True, slots=True)
class Data:
    """A data set, as it lies in its file; it is converted batch by batch.

    arrays   one per graph input, samples along axis 0
    labels   one per sample, if there are any
    batch    size that the graph prescribes; None if it is free
    """

    arrays: Mapping[str, Array]
    inputs: Mapping[str, _Input]
    labels: Array | None = None
    scaling: Scaling = field(default_factory=Scaling)
    batch: int | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batches(self, size: int = 64, limit: int | None = None) -> Iterator[Batch]:
        """The samples in order, or the first `limit`; a graph's own batch size goes before `size`."""
        step = self.batch or size
        total = len(self) if limit is None else min(limit, len(self))
        for start in range(0, total, step):
            rows = np.arange(start, min(start + step, total))
            count = len(rows)
            if self.batch is not None and count < step:
                rows = np.concatenate([rows, np.full(step - count, rows[-1])])
            feeds = {name: self._converted(name, array[rows]) for name, array in self.arrays.items()}
            yield Batch(feeds, None if self.labels is None else self.labels[rows], count)

    def feeds(self, limit: int = 64) -> dict[str, Array]:
        """The first samples as one batch: as many as the graph prescribes, or `limit`."""
        return next(self.batches(limit, self.batch or limit)).feeds

    def _converted(self, name: str, array: Array) -> Array:
        wanted = self.inputs[name]
        if wanted.is_float and self.scaling:
            array = self.scaling.apply(array.astype(np.float32), name)
        return np.ascontiguousarray(array, wanted.dtype)


def load_data(path: str | Path, graph: Graph, *, labels: str | None = None, scaling: Scaling | None = None) -> Data:
    """The data of an `.npz` file for a graph.

    labels   the array that holds them; default `y`, where that is no input
    """
    return from_arrays(_read(Path(path)), graph, labels=labels, scaling=scaling, source=str(path))


def from_arrays(
    arrays: Mapping[str, Array],
    graph: Graph,
    *,
    labels: str | None = None,
    scaling: Scaling | None = None,
    source: str = "data",
) -> Data:
    """The same, from arrays in memory."""
    inputs = {name: _input(graph, name) for name in graph.data_inputs}
    scaling = scaling or Scaling()
    found: dict[str, Array] = {}
    warnings = []
    for name, wanted in inputs.items():
        key = _key(arrays, name, inputs, source)
        array = np.asarray(arrays[key])
        found[name] = _fitted(array, wanted, source)
        _require_finite(array, key, source)
        if wanted.is_float and array.dtype.kind in "iu" and not scaling:
            warnings.append(
                f"{source}: integers go into the float input '{name}' as they are; "
                "give --scale, --mean and --std as the network was trained"
            )
        if wanted.is_float and scaling:
            scaling.apply(found[name][:1].astype(np.float32), name)
    counts = {name: len(array) for name, array in found.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        shown = ", ".join(f"'{name}' {count}" for name, count in counts.items())
        raise PruneirError(f"{source}: every input needs the same number of samples, at least one; given are {shown}")
    targets = _labels(arrays, inputs, labels, next(iter(counts.values())), source)
    if targets is not None:
        _require_classes(targets, _classes(graph), labels or "y", source)
    return Data(found, inputs, targets, scaling, _prescribed(inputs, source), tuple(warnings))


def _read(path: Path) -> dict[str, Array]:
    if path.is_dir():
        raise PruneirError(f"{path}: is a folder; give an .npz file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise PruneirError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise PruneirError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, BadZipFile, EOFError, AttributeError, TypeError):
        raise PruneirError(f"{path}: not an .npz file of plain arrays; write one with numpy.savez") from None


def _input(graph: Graph, name: str) -> _Input:
    kind = graph.type_of(name)
    if kind is None or not kind.elem_type:
        return _Input(name, np.dtype(np.float32), None)
    return _Input(name, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)), kind.shape)


def _key(arrays: Mapping[str, Array], name: str, inputs: Mapping[str, _Input], source: str) -> str:
    if name in arrays:
        return name
    if len(inputs) == 1 and "x" in arrays:
        return "x"
    also = " or 'x'" if len(inputs) == 1 else ""
    raise PruneirError(f"{source}: no array '{name}'{also} for that input; it has {', '.join(arrays) or 'none'}")


def _fitted(array: Array, wanted: _Input, source: str) -> Array:
    """The array with the input's rank and sizes, whatever its samples count."""
    if array.dtype.kind not in "iufb" and array.dtype != wanted.dtype:
        raise PruneirError(f"{source}: '{wanted.name}' holds {array.dtype}, not numbers")
    if not wanted.is_float and array.dtype.kind == "f":
        raise PruneirError(f"{source}: '{wanted.name}' holds {array.dtype}, but the input takes {wanted.dtype}")
    if wanted.shape is None or _fits(array.shape, wanted.shape):
        return array
    for axis in (1, len(wanted.shape) - 1):
        if axis > 0 and wanted.shape[axis] == 1 and array.ndim == len(wanted.shape) - 1:
            wider = np.expand_dims(array, axis)
            if _fits(wider.shape, wanted.shape):
                return wider
    expected = ",".join(["samples", *(str(dim or "any") for dim in wanted.shape[1:])])
    given = ",".join(map(str, array.shape))
    raise PruneirError(f"{source}: input '{wanted.name}' takes [{expected}], but the array has shape [{given}]")


def _require_finite(array: Array, name: str, source: str) -> None:
    """PruneirError at the first sample with NaN or infinity; a few samples at a time, to spare memory."""
    if array.dtype.kind in "iub":
        return
    for start in range(0, len(array), _CHUNK):
        bad = np.argwhere(~np.isfinite(array[start : start + _CHUNK]))
        if len(bad):
            place = (start + int(bad[0][0]), *map(int, bad[0][1:]))
            what = "NaN" if np.isnan(array[place]) else "infinity"
            raise PruneirError(
                f"{source}: array '{name}' holds {what} in sample {place[0]}, at [{','.join(map(str, place))}]; "
                "mend the sample or leave it out"
            )


def _classes(graph: Graph) -> int | None:
    """The classes that a classifier tells apart: its only output is [N, classes]. None if it is none, or unknown."""
    kind = graph.type_of(graph.outputs[0]) if len(graph.outputs) == 1 else None
    shape = kind.shape if kind is not None else None
    if not shape or len(shape) < 2 or any(size != 1 for size in shape[2:]):
        return None
    return shape[1] if isinstance(shape[1], int) and shape[1] > 1 else None


def _require_classes(labels: Array, classes: int | None, name: str, source: str) -> None:
    if classes is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise PruneirError(
            f"{source}: label {labels[bad[0]]} in '{name}', at sample {bad[0]}, is no class of the network, "
            f"which has {classes}; give labels from 0 to {classes - 1}"
        )


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    if len(shape) != len(wanted) or not shape:
        return False
    return all(not isinstance(w, int) or w == n for n, w in zip(shape[1:], wanted[1:], strict=True))


def _prescribed(inputs: Mapping[str, _Input], source: str) -> int | None:
    sizes = {i.name: i.shape[0] for i in inputs.values() if i.shape and isinstance(i.shape[0], int)}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"'{name}' {size}" for name, size in sizes.items())
        raise PruneirError(f"{source}: the inputs have batches of different size ({shown}), so none can be made")
    return next((int(size) for size in sizes.values()), None)


def _labels(
    arrays: Mapping[str, Array], inputs: Mapping[str, _Input], wanted: str | None, count: int, source: str
) -> Array | None:
    name = wanted or "y"
    if wanted is None and (name in inputs or name not in arrays):
        return None
    if name not in arrays:
        raise PruneirError(f"--labels: {source} has no array '{name}'; it has {', '.join(arrays)}")
    found = np.asarray(arrays[name])
    if found.ndim == 0 or (len(found) != count and not (found.ndim == 2 and found.shape[1] == 6)):
        raise PruneirError(f"--labels: '{name}' has {found.size} labels for {count} samples in {source}")
    return found
