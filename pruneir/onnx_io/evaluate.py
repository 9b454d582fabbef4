"""Values of a graph for given inputs, from ONNX Runtime, in every element type that it computes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnxruntime as ort
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.errors import PruneirError
from pruneir.graph.graph import Graph
from pruneir.onnx_io.session import session
from pruneir.onnx_io.tensors import element_type

Feeds = Mapping[str, np.ndarray]
"""One array per graph input."""


def evaluate(graph: Graph, names: Sequence[str], batches: Iterable[Feeds]) -> Iterator[dict[str, np.ndarray]]:
    """The named values, batch by batch. A sequence's tensors are laid end to end.

    The session runs the graph as it is written: its values can all be read, and no weight is copied to be fused.
    """
    running = session(graph, names, optimize="none")
    options = ort.RunOptions()
    options.log_severity_level = 4  # what goes wrong is raised, once
    for feeds in batches:
        given = {name: np.require(feeds[name], requirements="C") for name in graph.data_inputs if name in feeds}
        try:
            values = _run(running, list(names), given, options)
        except Exception as error:  # onnxruntime has no common base for its exceptions
            raise PruneirError(f"ONNX Runtime cannot run the graph: {str(error).splitlines()[0]}") from None
        found = dict(zip(names, values, strict=True))
        yield {name: array.copy() if name in given else array for name, array in found.items()}  # not the caller's own


def _run(
    running: ort.InferenceSession, names: list[str], given: Feeds, options: ort.RunOptions
) -> Iterable[np.ndarray]:
    if any(array.dtype.kind in "OUS" for array in given.values()):  # texts fit in no value of the runtime's own
        return [each if isinstance(each, np.ndarray) else _joined(each) for each in running.run(names, given, options)]
    values = {
        name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, element_type(array))
        for name, array in given.items()
    }
    return [_from_runtime(value) for value in running.run_with_ort_values(names, values, options)]


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    flat = [np.ravel(part) for part in parts]
    return np.concatenate(flat) if flat else np.zeros(0, np.float32)


def _from_runtime(value: ort.OrtValue) -> np.ndarray:
    if not value.is_tensor():
        return _joined(value.numpy())
    dtype = np.dtype(object) if "string" in value.data_type() else tensor_dtype_to_np_dtype(value.element_type())
    if dtype.kind in "biufcO":
        return np.asarray(value.numpy())
    array = np.empty(value.shape(), dtype)  # of a type that numpy lacks: its bytes
    ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array
