"""Expands that nothing needs: an elementwise operator broadcasts by itself."""

from __future__ import annotations

from pruneir.folding.edit import bypass, first_output
from pruneir.folding.sizes import Samples
from pruneir.graph import Graph, Operator

_BROADCASTING = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "And", "Or", "Xor", "PRelu"),
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"),
)


def drop_expand(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """f(Expand(x), y) -> f(x, y), where every reader f is elementwise and has a y of the result's shape."""
    expanded = operator.outputs[0]
    readers = graph.users(expanded)
    fits = readers and all(_broadcasts(samples, reader, expanded) for reader in readers)
    return bypass(graph, operator, operator.inputs[0]) if fits and expanded not in graph.outputs else ()


def _broadcasts(samples: Samples, reader: Operator, expanded: str) -> bool:
    """Whether a reader gives the same shape without this operand."""
    if not reader.is_a(*_BROADCASTING) or (reader.is_a("PRelu") and reader.inputs[0] == expanded):
        return False
    others = [name for name in reader.inputs if name != expanded]
    return any(samples.same(name, first_output(reader)) for name in others)
