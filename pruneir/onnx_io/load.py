"""From an ONNX file or model to a Graph."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from pruneir.errors import PruneirError
from pruneir.graph.graph import Graph
from pruneir.graph.operator import Attribute, Operator
from pruneir.onnx_io import attributes
from pruneir.onnx_io.external import DataFolder
from pruneir.onnx_io.order import in_order
from pruneir.onnx_io.protos import check_text, rest
from pruneir.onnx_io.tensors import Fetch, array_of, bring_inside, no_data_outside, note_of
from pruneir.onnx_io.versions import check_versions


def load(source: str | os.PathLike[str] | onnx.ModelProto) -> Graph:
    """The graph of an ONNX file or of a model in memory, which is left as it is.

    External data are mapped, not read. PruneirError, one line, for whatever cannot be loaded.
    """
    if isinstance(source, onnx.ModelProto):
        return graph_of(source, no_data_outside)
    path = Path(source)
    try:
        return graph_of(_read(path), DataFolder(path.parent).fetch)
    except PruneirError as error:
        raise PruneirError(f"{path}: {error}") from None


def graph_of(model: onnx.ModelProto, fetch: Fetch) -> Graph:
    """The graph of a model; `fetch` gets the data that are not inside."""
    check_versions(model)
    check_text(model)
    proto = model.graph
    graph = Graph(proto.name, header=rest(model, "graph"))
    graph.extras = rest(proto, "name", "node", "initializer", "input", "output", "value_info")
    bring_inside(graph.header, fetch)
    bring_inside(graph.extras, fetch)
    _take_initializers(graph, proto, fetch)
    _take_types(graph, proto)
    given = {*graph.inputs, *graph.initializers, *(x.values.name for x in proto.sparse_initializer)}
    for operator in in_order([_operator(node, fetch) for node in proto.node], given):
        graph.add(operator)
    for name in graph.outputs:
        if graph.producer(name) is None and name not in given:
            raise PruneirError(f"nothing defines the graph output {name!r}; the graph is incomplete, export it again")
    return graph


def _read(path: Path) -> onnx.ModelProto:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PruneirError("no such file; check the path") from None
    except IsADirectoryError:
        raise PruneirError("is a folder; give the .onnx file in it") from None
    except OSError as error:
        raise PruneirError(f"cannot be read ({error.strerror}); check the path and its permissions") from None
    if not data:
        raise PruneirError("the file is empty; export or copy it again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise PruneirError("not an ONNX model, or a truncated one; export or copy it again") from None
    return model


def _take_initializers(graph: Graph, proto: onnx.GraphProto, fetch: Fetch) -> None:
    for tensor in proto.initializer:
        if not tensor.name:
            raise PruneirError("an initializer has no name; export the model again")
        if tensor.name in graph.initializers:
            raise PruneirError(f"initializer {tensor.name!r} is defined twice; rename one of them")
        graph.set_initializer(tensor.name, array_of(tensor, fetch))
        note = note_of(tensor)
        if note is not None:
            graph.notes[tensor.name] = note


def _take_types(graph: Graph, proto: onnx.GraphProto) -> None:
    """Inputs, outputs and declared types; a second statement about a value is kept among the extras."""
    graph.inputs, graph.outputs = [x.name for x in proto.input], [x.name for x in proto.output]
    for name, count in Counter(graph.inputs).items():
        if count > 1:
            raise PruneirError(f"the graph input {name!r} is stated twice; rename one of them")
    if "" in (*graph.inputs, *graph.outputs):
        raise PruneirError("a graph input or output has no name; export the model again")
    _declare(graph, proto.input)
    graph.extras.output.extend(_declare(graph, proto.output))
    graph.extras.value_info.extend(_declare(graph, proto.value_info))


def _declare(graph: Graph, infos: Iterable[onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
    repeated = []
    for info in infos:
        if info.name in graph.declared:
            repeated.append(info)
        else:
            graph.declared[info.name] = rest(info)
            graph.network.add_node(info.name)
    return repeated


def _operator(node: onnx.NodeProto, fetch: Fetch) -> Operator:
    if not node.op_type or not node.op_type.isprintable():
        label = node.name or next(iter(node.output), "")
        raise PruneirError(f"node {label!r} has the operator type {node.op_type!r}, which is no name; export it again")
    values: dict[str, Attribute] = {}
    extras = rest(node, "input", "output", "name", "op_type", "domain", "attribute")
    for proto in node.attribute:
        if proto.name in values:
            raise PruneirError(f"node {node.name or node.op_type!r} states attribute {proto.name!r} twice; drop one")
        values[proto.name] = attributes.decode(proto, fetch)
        note = attributes.note(proto, values[proto.name])
        if note is not None:
            extras.attribute.append(note)
    return Operator(
        node.op_type,
        tuple(node.input),
        tuple(node.output),
        values,
        name=node.name,
        domain=node.domain,
        extras=extras if extras.ByteSize() else None,
    )
