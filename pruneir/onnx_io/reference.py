"""One operator by itself, as the reference implementation of the onnx package computes it."""

from __future__ import annotations

import onnx
from onnx.reference import ReferenceEvaluator

from pruneir.graph import Operator
from pruneir.onnx_io.model import fill_node
from pruneir.onnx_io.tensors import embed


def reference(operator: Operator, opset: int) -> ReferenceEvaluator:
    """What runs a standard operator as its operator set defines it, values by the operator's own names.

    RuntimeContextError if the package has no implementation.
    """
    graph = onnx.GraphProto(name="operator")  # a node alone would be taken for one of the newest operator set
    fill_node(graph.node.add(), operator, embed)
    graph.input.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(filter(None, operator.inputs)))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in filter(None, operator.outputs))
    return ReferenceEvaluator(graph, opsets={"": opset})
