"""Every value defined once and before it is read."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from pruneir.errors import PruneirError
from pruneir.graph.operator import Operator


def in_order(operators: Sequence[Operator], given: set[str]) -> list[Operator]:
    """The operators in the order of the file, or if that reads values too early in one that does not.

    given   the values that are there from the start: inputs and initializers
    PruneirError for a value that is defined twice or not at all, and for a cycle.
    """
    producers = _producers(operators, given)
    reads = {operator: [x for x in (*operator.inputs, *operator.captures) if x] for operator in operators}
    for operator, names in reads.items():
        for name in names:
            if name not in producers and name not in given:
                raise PruneirError(
                    f"node {operator.label!r} ({operator.type}) reads {name!r}, which nothing defines; "
                    "the graph is incomplete, export it again"
                )
    known = set(given)
    for operator, names in reads.items():
        if not known.issuperset(names):
            break
        known.update(operator.outputs)
    else:
        return list(operators)
    before = {op: [producers[name] for name in names if name in producers] for op, names in reads.items()}
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as error:
        raise PruneirError(f"the graph has a cycle through node {error.args[1][0].label!r}; export it again") from None


def _producers(operators: Sequence[Operator], given: set[str]) -> dict[str, Operator]:
    producers: dict[str, Operator] = {}
    for operator in operators:
        for name in filter(None, operator.outputs):
            if name in given or name in producers:
                other = f"node {producers[name].label!r}" if name in producers else "an input or initializer"
                raise PruneirError(
                    f"value {name!r} is defined twice, by {other} and by node {operator.label!r} ({operator.type}); "
                    "rename one of them"
                )
            producers[name] = operator
    return producers
