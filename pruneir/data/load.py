"""Data from whatever a user gives: a file, a folder, a Python function, arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pruneir.data import archive
from pruneir.data.arrays import Arrays
from pruneir.data.data import Data
from pruneir.data.entry import Entry, code_of, function_of, is_entry
from pruneir.data.fitting import Input, inputs_of
from pruneir.data.images import Images
from pruneir.data.labels import classes_of
from pruneir.data.scaling import Scaling
from pruneir.data.source import Source
from pruneir.errors import PruneirError
from pruneir.graph import Graph

Array = np.ndarray[Any, Any]
Raw = str | os.PathLike[str] | Mapping[str, Any] | Array | Callable[[], Any]
"""A path or `module:function`; arrays by input, or the only input's; a function that returns batches."""
Given = Raw | Data


def load_data(given: Given, graph: Graph, *, labels: str | None = None, scaling: Scaling | None = None) -> Data:
    """Data for a graph: the one way in, whatever its form.

    given    an .npz or .npy file, a folder of images, `module:function`; or the same in memory. Data is left as it is
    labels   the array of an .npz, or of a batch, that holds them; default `y`, where that is no input
    scaling  what makes of the samples what the network was trained on

    PruneirError, in one line, for what cannot be read or does not fit. What is only found out when a sample is read
    (NaN, a broken image, a batch of another shape) is raised there.
    """
    if isinstance(given, Data):
        return _required(given, graph)
    inputs, scaling = inputs_of(graph), scaling or Scaling()
    return Data(_source(given, inputs, classes_of(graph), labels, scaling), inputs, scaling)


def from_arrays(
    arrays: Mapping[str, Any] | Array,
    graph: Graph,
    *,
    labels: str | None = None,
    scaling: Scaling | None = None,
    source: str = "data",
) -> Data:
    """Data of arrays, samples along axis 0; `source` is what messages call them."""
    inputs = inputs_of(graph)
    found = _by_input(arrays, inputs, source)
    return Data(Arrays(found, inputs, labels, classes_of(graph), source), inputs, scaling or Scaling())


def _source(
    given: Raw, inputs: Mapping[str, Input], classes: int | None, labels: str | None, scaling: Scaling
) -> Source:
    if not isinstance(given, (str, os.PathLike)):
        if callable(given):
            return Entry(given, inputs, labels, classes, getattr(given, "__name__", "data"))
        return Arrays(_by_input(given, inputs, "data"), inputs, labels, classes, "data")
    path = Path(given)
    if is_entry(str(given)) and not path.exists():
        return Entry(function_of(str(given)), inputs, labels, classes, str(given), code_of(str(given)))
    if path.is_dir():
        _require_none(labels, path, "its sub-folders")
        return Images(path, inputs, classes, scaling)
    found = archive.read(path)
    if isinstance(found, Mapping):
        return Arrays(found, inputs, labels, classes, str(path))
    _require_none(labels, path, f"in {path.stem}.labels.npy, beside it")
    arrays = _by_input(found, inputs, str(path))
    beside = path.with_name(f"{path.stem}.labels.npy")
    if not beside.exists():
        return Arrays(arrays, inputs, None, classes, str(path))
    return Arrays({**arrays, beside.name: archive.read(beside)}, inputs, beside.name, classes, str(path))


def _by_input(arrays: Mapping[str, Any] | Array, inputs: Mapping[str, Input], source: str) -> Mapping[str, Any]:
    if isinstance(arrays, Mapping):
        return arrays
    if len(inputs) > 1:
        raise PruneirError(f"{source}: is one array, but the network has inputs {', '.join(inputs)}; give one for each")
    return dict.fromkeys(inputs, arrays)


def _require_none(labels: str | None, path: Path, where: str) -> None:
    if labels is not None:
        raise PruneirError(f"--labels names an array of an .npz or of a batch; the labels of {path} are {where}")


def _required(data: Data, graph: Graph) -> Data:
    if sorted(data.input_names) != sorted(graph.data_inputs):
        given, wanted = ", ".join(data.input_names), ", ".join(graph.data_inputs)
        raise PruneirError(f"data: is for the inputs {given}, but the network has {wanted}; load it for this network")
    return data
