"""Reads of a flattened tensor through computed indices, as exporters write a strided view of memory."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from pruneir.errors import PruneirError
from pruneir.folding.arithmetic import view_target
from pruneir.folding.shuffles import VIEWS
from pruneir.folding.sizes import Samples
from pruneir.graph import Graph, Operator
from pruneir.onnx_io import session

_LARGEST = 1 << 22
"""Indices that are computed, to see whether they count."""
_SMOOTH = ("Range", "Add", "Sub", "Mul", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Concat", "Cast", "Identity")
"""Operators whose results at a few sizes tell what they are at all others."""


def view_strided(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Gather(view(x), i) -> Reshape(x, target), where view(x) has one axis, of which i counts all: 0, 1, 2, …"""
    flat, indices = operator.inputs
    view = graph.producer(flat)
    if view is None or not view.is_a(*VIEWS) or samples.rank(flat) != 1 or indices in graph.initializers:
        return ()
    source, result = view.inputs[0], operator.outputs[0]
    target = view_target(samples, source, result)
    if target is None or not _counts(graph, samples, indices, flat):
        return ()
    shape = graph.define(samples.fresh_name(graph, f"{operator.label}.shape"), np.array(target, np.int64))
    graph.replace(operator, Operator("Reshape", (source, shape), (result,), {}, operator.name, operator.domain))
    return (result,)


def _counts(graph: Graph, samples: Samples, indices: str, flat: str) -> bool:
    """Whether indices are 0, 1, 2, … up to the length of a flat tensor, at every choice of the symbols."""
    shape, lengths = samples.shape(indices), samples.shape(flat)
    if shape is None or lengths is None:
        return False
    counts = [prod(column) for column in zip(*shape, strict=True)] if shape else []
    if tuple(counts) != lengths[0] or max(counts) > _LARGEST:
        return False
    operators = _behind(graph, samples, indices)
    return bool(operators) and all(
        np.array_equal(_computed(graph, samples, operators, indices, point), np.arange(count))
        for point, count in enumerate(counts)
    )


def _behind(graph: Graph, samples: Samples, name: str) -> list[Operator]:
    """The operators that lead from known values to this one; none if another kind than the smooth is among them."""
    found: dict[Operator, None] = {}
    waiting = [name]
    while waiting:
        value = waiting.pop()
        if not value or samples.values(value) is not None:
            continue
        producer = graph.producer(value)
        if producer is None or not producer.is_a(*_SMOOTH):
            return []
        if producer not in found:
            found[producer] = None
            waiting += producer.inputs
    return list(found)


def _computed(graph: Graph, samples: Samples, operators: list[Operator], name: str, point: int) -> np.ndarray:
    """A value at one choice of the symbols, as one axis; empty where it cannot be computed."""
    region = Graph(header=onnx.ModelProto(ir_version=max(4, graph.header.ir_version)))
    region.header.opset_import.extend(graph.header.opset_import)
    for operator in reversed(operators):
        for each in filter(None, operator.inputs):
            values = samples.values(each)
            if values is not None:
                region.set_initializer(each, values[point])
        region.add(operator)
    region.outputs.append(name)
    try:
        return np.asarray(session(region, threads=1).run(None, {})[0]).ravel()
    except PruneirError:
        return np.zeros(0)
