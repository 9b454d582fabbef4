"""A Graph in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort

from pruneir.errors import PruneirError
from pruneir.graph.graph import Graph
from pruneir.onnx_io.external import SMALL, Shelf
from pruneir.onnx_io.model import model_of
from pruneir.onnx_io.tensors import Array, element_type, embed, is_outside

Level = Literal["none", "basic", "extended", "all"]
_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def session(
    graph: Graph, outputs: Sequence[str] | None = None, *, threads: int = 0, optimize: Level = "all"
) -> ort.InferenceSession:
    """A session on the CPU, of any size, that reads the graph's tensors where they are.

    outputs    values to return besides the graph's own outputs, which come first
    threads    for one operator; 0: as many as OMP_NUM_THREADS says, else as there are cores
    optimize   what ONNX Runtime may do to the graph
    PruneirError if the graph has no such value or ONNX Runtime refuses it.
    """
    shelf = Shelf()
    model = model_of(_with_shared_constants(graph), initializers=shelf.store, constants=embed)
    _add_outputs(model, graph, outputs or ())
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, once
    options.intra_op_num_threads = threads or _asked()
    options.graph_optimization_level = _LEVELS[optimize]
    outside = [tensor for tensor in model.graph.initializer if is_outside(tensor)]
    shared = {t.name: np.ascontiguousarray(array) for t, array in zip(outside, shelf.arrays, strict=True)}
    for tensor in outside:
        if not graph.network.succ.get(tensor.name):  # ONNX Runtime drops what nothing reads, then misses it
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
            embed(tensor, shared.pop(tensor.name))
    options.add_external_initializers(list(shared), [_shared(array) for array in shared.values()])
    try:
        running = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base for its exceptions
        raise PruneirError(f"ONNX Runtime refuses the graph: {str(error).splitlines()[0]}") from None
    running.shared_arrays = shared  # ONNX Runtime does not own their memory: they must live as long
    return running


def _asked() -> int:
    """The threads that the environment allows, as it does for torch; 0 where it says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _with_shared_constants(graph: Graph) -> Graph:
    """The graph with the large tensors of Constant nodes as initializers, which need not be copied."""
    large = [
        (operator, value)
        for operator in graph.operators
        if operator.is_a("Constant") and isinstance(value := operator.attribute("value"), np.ndarray)
        if value.nbytes > SMALL
    ]
    if not large:
        return graph
    twin = graph.copy()
    for operator, value in large:
        twin.define(operator.outputs[0], value)
    return twin


def _shared(array: Array) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, element_type(array))


def _add_outputs(model: onnx.ModelProto, graph: Graph, wanted: Sequence[str]) -> None:
    for name in dict.fromkeys(wanted):
        if name not in graph.network:
            raise PruneirError(f"the graph has no value {name!r}")
        if name not in graph.outputs:
            model.graph.output.append(graph.declared.get(name) or onnx.ValueInfoProto(name=name))
