"""Whether a graph is a valid model: for the ONNX checker with full shape inference, and for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from pruneir.errors import PruneirError
from pruneir.graph import Graph, constant_of
from pruneir.onnx_io import session, to_model
from pruneir.onnx_io.external import SMALL


def check_model(graph: Graph, original: Graph | None = None) -> None:
    """PruneirError, one line, unless the checker accepts the graph and ONNX Runtime loads it.

    original  a network that may have faults of its own: what it fails at, the graph may fail at
    """
    for test in (_fully, _structurally, _loads):
        problem = test(graph)
        if problem and (original is None or not test(original)):
            raise PruneirError(f"the graph is not a valid model: {problem}")


def _fully(graph: Graph) -> str:
    return _problem(lambda: onnx.checker.check_model(to_model(_light(graph)), full_check=True))


def _structurally(graph: Graph) -> str:
    return _problem(lambda: onnx.checker.check_model(to_model(_light(graph))))


def _loads(graph: Graph) -> str:
    return _problem(lambda: session(graph, optimize="none"))


def _problem(test: Callable[[], object]) -> str:
    """What a test has to say, in one line; empty if it passes."""
    try:
        test()
    except Exception as error:  # the checker, shape inference and ONNX Runtime have no common base
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _light(graph: Graph) -> Graph:
    """The graph with large tensors as inputs of their type: the checker reads no more of them, and takes 2 GB only."""
    light = graph.copy()
    large = {name: array for name, array in graph.initializers.items() if array.nbytes > SMALL}
    for operator in graph.operators:
        value = constant_of(operator) if operator.is_a("Constant") else None
        if value is not None and value.nbytes > SMALL:
            light.remove(operator)
            large[operator.outputs[0]] = value
    for name, array in large.items():
        light.initializers.pop(name, None)
        light.notes.pop(name, None)
        light.declare(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        if name not in light.inputs:
            light.inputs.append(name)
    return light
