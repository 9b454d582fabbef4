"""From a Graph to an ONNX model in memory, and the pieces of one."""

from __future__ import annotations

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from pruneir.errors import PruneirError
from pruneir.graph.graph import Graph
from pruneir.graph.operator import Operator
from pruneir.onnx_io import attributes
from pruneir.onnx_io.external import Shelf
from pruneir.onnx_io.protos import rest
from pruneir.onnx_io.tensors import Array, Store, describe, embed

LARGEST = 2**31 - 1
"""Bytes that a protobuf message can have."""


def to_model(graph: Graph) -> ModelProto:
    """The model, with all data inside. PruneirError if these are more than protobuf can hold."""
    if sum(array.nbytes for array in graph.initializers.values()) > LARGEST:
        raise PruneirError("the model has more than 2 GB of data, too much for one in memory; save it by path instead")
    return model_of(graph, initializers=embed, constants=embed)


def skeleton(graph: Graph) -> ModelProto:
    """The model without the data of tensors over 1 KiB, for tools that look at structure and types only.

    Those tensors keep name, element type and shape, and are marked as external data that no file has: shape inference
    and the function inliner take that, a runtime does not.
    """
    shelf = Shelf()
    return model_of(graph, initializers=shelf.store, constants=shelf.store)


def model_of(graph: Graph, *, initializers: Store, constants: Store) -> ModelProto:
    """The model; the stores decide where the data of initializers and of tensor attributes go."""
    model = ModelProto()
    model.CopyFrom(graph.header)
    model.graph.CopyFrom(shell(graph))
    for operator in graph.operators:
        fill_node(model.graph.node.add(), operator, constants)
    for name, array in graph.initializers.items():
        tensor = model.graph.initializer.add()
        fill_tensor(tensor, name, array, graph.notes.get(name))
        initializers(tensor, array)
    return model


def shell(graph: Graph) -> GraphProto:
    """The ONNX graph without nodes and initializers."""
    proto = rest(graph.extras, "output", "value_info")
    proto.name = graph.name
    restated = {info.name: info for info in graph.extras.output}
    for name in graph.inputs:
        proto.input.append(_info(graph, name))
    for name in graph.outputs:
        proto.output.append(restated.get(name) or _info(graph, name))
    interface = {*graph.inputs, *graph.outputs}
    proto.value_info.extend(info for name, info in graph.declared.items() if name not in interface)
    proto.value_info.extend(graph.extras.value_info)
    return proto


def fill_node(node: NodeProto, operator: Operator, store: Store) -> None:
    """Write an operator into an empty NodeProto."""
    notes = {}
    if operator.extras is not None:
        node.MergeFrom(rest(operator.extras, "attribute"))
        notes = {note.name: note for note in operator.extras.attribute}
    node.op_type = operator.type
    node.input.extend(operator.inputs)
    node.output.extend(operator.outputs)
    if operator.name:
        node.name = operator.name
    if operator.domain:
        node.domain = operator.domain
    for name, value in operator.attributes.items():
        attributes.encode(node.attribute.add(), name, value, store, notes.get(name))


def fill_tensor(tensor: TensorProto, name: str, array: Array, note: TensorProto | None) -> None:
    """Write all of an initializer but its data into an empty TensorProto."""
    if note is not None:
        tensor.MergeFrom(rest(note, "data_location"))
    tensor.name = name
    describe(tensor, array)


def _info(graph: Graph, name: str) -> ValueInfoProto:
    kind = graph.type_of(name)
    if name in graph.declared or kind is None:
        return graph.declared.get(name) or ValueInfoProto(name=name)
    return onnx.helper.make_tensor_value_info(name, kind.elem_type, kind.shape)
