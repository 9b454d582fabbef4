"""A batch of fixed size made free: what an export to one size has written into constants."""

from __future__ import annotations

import numpy as np

from pruneir.graph import Graph, Operator
from pruneir.shapes.walk import Shapes


def free_batch(graph: Graph, shapes: Shapes) -> None:
    """Let axis 0 have any size, as far as constants stand in the way; at the old size nothing changes.

    A Reshape whose target begins with the size copies that axis instead, and a Concat with zeros becomes a Pad.

    shapes  of all values, at the old size
    """
    for operator in list(graph.operators):
        if operator.is_a("Reshape"):
            _copy_first(graph, shapes, operator)
        elif operator.is_a("Concat"):
            _pad(graph, shapes, operator)


def _copy_first(graph: Graph, shapes: Shapes, operator: Operator) -> None:
    """Reshape(x, {n, …}) -> Reshape(x, {0, …}), where x has n rows."""
    before, target = shapes.shape(operator.inputs[0]), graph.constant(operator.inputs[1])
    if not before or target is None or not target.size or target[0] != before[0] or operator.attribute("allowzero", 0):
        return
    name = graph.define(graph.fresh_name(operator.inputs[1]), np.concatenate([[0], target[1:]]))
    graph.replace(operator, operator.with_input(1, name))


def _pad(graph: Graph, shapes: Shapes, operator: Operator) -> None:
    """Concat(zeros, x, zeros, axis=k) -> Pad(x), for k > 0."""
    sizes = [shapes.shape(name) for name in operator.inputs]
    others = [place for place, name in enumerate(operator.inputs) if not _is_zero(graph, name)]
    if len(others) != 1 or None in sizes:
        return
    rank = len(sizes[0] or ())
    axis = int(operator.attribute("axis", 1)) % rank
    if not axis:
        return
    widths = [shape[axis] for shape in sizes if shape is not None]
    pads = np.zeros((2, rank), np.int64)
    pads[:, axis] = sum(widths[: others[0]]), sum(widths[others[0] + 1 :])
    inputs: tuple[str, ...] = (operator.inputs[others[0]],)
    attributes: dict[str, object] = {}
    if graph.opset() >= 11:
        inputs = (*inputs, graph.define(graph.fresh_name(f"{operator.label}.pads"), pads.reshape(-1)))
    else:
        attributes = {"pads": tuple(pads.ravel().tolist())}
    graph.replace(operator, operator.with_(type="Pad", inputs=inputs, attributes=attributes))


def _is_zero(graph: Graph, name: str) -> bool:
    """Whether a value is a constant of zeros."""
    maker = graph.producer(name)
    if maker is not None and maker.is_a("ConstantOfShape"):
        value = np.asarray(maker.attribute("value", np.zeros(1, np.float32)))
        return graph.constant(maker.inputs[0]) is not None and value.dtype.kind == "f" and not value.any()
    constant = graph.constant(name)
    return constant is not None and constant.dtype.kind == "f" and not constant.any()
