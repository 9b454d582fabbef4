"""Constants that are spread over the batch: the axes that do not vary are filled first, and need no length later.

What is filled first has a constant shape, so that its channels can be cut like those of any parameter: the first state
of a recurrent network, zeros that widen a shortcut, a class token.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pruneir.folding.roots import Roots
from pruneir.folding.sizes import Column, Samples, varies
from pruneir.graph import Graph, Operator


def split_fills(graph: Graph, samples: Samples, roots: Roots, shapes: Collection[str]) -> int:
    """Expand(x, {N,8,4}) -> Expand(Expand(x, {1,8,4}), {N,1,1}), ConstantOfShape likewise; the number of both.

    shapes  what is computed from the shapes of graph inputs
    """
    fills = [op for op in graph.operators if op.is_a("ConstantOfShape", "Expand") and op.inputs[-1] in shapes]
    return sum(_split(graph, samples, roots, operator) for operator in fills)


def _split(graph: Graph, samples: Samples, roots: Roots, operator: Operator) -> bool:
    wanted = samples.values(operator.inputs[-1])
    before = () if operator.is_a("ConstantOfShape") else samples.shape(operator.inputs[0])
    if wanted is None or before is None or not _is_float(samples, operator.outputs[0]):
        return False
    columns: list[Column] = list(zip(*(value.tolist() for value in wanted), strict=True))
    if any(varies(column) and column not in samples.roots for column in columns):
        return False
    names = any(not varies(column) and column[0] > 1 for column in columns)
    if len(before) > len(columns) or not names or not any(map(varies, columns)):
        return False
    inner = [1 if varies(column) else column[0] for column in columns]
    outer = [column if varies(column) else (1,) for column in columns]
    source = _filled(graph, samples, operator, inner)
    size = samples.fresh_name(graph, f"{operator.label}.size")
    graph.add(Operator("Concat", tuple(map(roots.part, outer)), (size,), {"axis": 0}, size), near=operator)
    graph.replace(operator, Operator("Expand", (source, size), operator.outputs, {}, operator.name))
    return True


def _filled(graph: Graph, samples: Samples, operator: Operator, shape: list[int]) -> str:
    """The operator's number or tensor as far as its shape is constant; 1 keeps an axis."""
    source = operator.inputs[0]
    if operator.is_a("ConstantOfShape"):
        value = np.asarray(operator.attribute("value", np.zeros(1, np.float32))).reshape(())
        source = graph.define(samples.fresh_name(graph, f"{operator.label}.value"), value)
    before = [set(column) for column in samples.shape(source) or ()] if operator.is_a("Expand") else []
    padded = [{1}] * (len(shape) - len(before)) + before
    if all(new == 1 or old == {new} for new, old in zip(shape, padded, strict=True)):
        return source
    target = graph.define(samples.fresh_name(graph, f"{operator.label}.shape"), np.array(shape, np.int64))
    filled = samples.fresh_name(graph, f"{operator.label}.filled")
    graph.add(Operator("Expand", (source, target), (filled,), {}, filled), near=operator)
    return filled


def _is_float(samples: Samples, name: str) -> bool:
    return samples.first.elem_type(name) in (1, 10, 11, 16)
