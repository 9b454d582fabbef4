"""Pointwise operators as functions of numbers: what f makes of some points, outside of any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx.reference.op_run import RuntimeContextError

from pruneir.graph import Graph, Operator
from pruneir.onnx_io import session
from pruneir.onnx_io.reference import reference

Function = Callable[[dict[str, np.ndarray]], np.ndarray]


class Functions:
    """The pointwise functions of one operator set, each set up once per choice of attributes."""

    def __init__(self, opset: int):
        self.opset = opset
        self._known: dict[tuple[object, ...], Function] = {}

    def of(self, operator: Operator, operands: Sequence[np.ndarray]) -> np.ndarray:
        """f(operands), which broadcast; an operand whose input is absent is passed over.

        By the onnx package's reference in float64, or by ONNX Runtime in float32 where that has no implementation.
        """
        present = tuple(bool(name) for name in operator.inputs)
        attributes = tuple(sorted((key, str(value)) for key, value in operator.attributes.items()))
        key = (operator.type, attributes, present)
        if key not in self._known:
            names = tuple(f"x{slot}" if there else "" for slot, there in enumerate(present))
            self._known[key] = self._function(Operator(operator.type, names, ("y",), operator.attributes))
        feeds = {f"x{slot}": np.asarray(x) for slot, x in enumerate(operands) if present[slot]}
        return self._known[key](feeds)

    def _function(self, operator: Operator) -> Function:
        try:
            running = reference(operator, self.opset)
        except RuntimeContextError:
            return self._in_runtime(operator)
        return lambda feeds: np.asarray(next(iter(running.run(None, feeds))), np.float64)

    def _in_runtime(self, operator: Operator) -> Function:
        graph = Graph("function")
        graph.header.opset_import.add(domain="", version=self.opset)
        graph.inputs, graph.outputs = [name for name in operator.inputs if name], ["y"]
        for name in (*graph.inputs, "y"):
            graph.declare(name, onnx.TensorProto.FLOAT, None)
        graph.add(operator)
        running = session(graph, threads=1)
        return lambda feeds: np.asarray(
            running.run(None, {name: np.asarray(x, np.float32) for name, x in feeds.items()})[0], np.float64
        )
