"""Which operators are computed together: each kernel takes along all elementwise operators that only it feeds.

From the value that a kernel makes to the next operator through which every path leads (its immediate post-dominator,
as in TVM's FuseOps), whatever lies between is one region, provided that all of it is elementwise. The region ends where
one is not. A step is computed where its last operator stands, when everything that it reads is there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import networkx as nx

from pruneir.backends.x86.expressions import Place, elementwise
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes

_END = ""
_MOST = 64
"""Operators of a region at most."""


@dataclass(frozen=True, slots=True)
class Region:
    """Elementwise operators behind a value, in order; `value` is what they make of it."""

    operators: tuple[Operator, ...]
    value: str


class Fusion:
    """Finds the regions of a graph; no operator is in two."""

    def __init__(self, graph: Graph, shapes: Shapes):
        self.graph, self.shapes = graph, shapes
        self.order = {operator: place for place, operator in enumerate(graph.operators)}
        self.taken: set[Operator] = set()
        self._after = _post_dominators(graph)

    def region(self, start: str, place: Place, first: Operator | None = None) -> Region:
        """The region behind a value, whose operators are taken.

        first  an operator that is in it anyway
        """
        found: list[Operator] = [first] if first is not None else []
        end = first.outputs[0] if first is not None else start
        while len(found) < _MOST and (more := self._next(end, place, {start, *_values(found)})):
            found += more
            end = more[-1].outputs[0]
        self.taken.update(found)
        return Region(tuple(found), end)

    def _next(self, value: str, place: Place, inside: Collection[str]) -> list[Operator]:
        """Operators between a value and the next that all of it leads to, that one last; none if one is of no use."""
        if value in self.graph.outputs:
            return []
        last = self._after.get(value)
        if last is None:
            return []
        between: set[Operator] = set()
        ahead = self.graph.users(value)
        while ahead:
            operator = ahead.pop()
            if operator in between:
                continue
            between.add(operator)
            if len(between) > _MOST:
                return []
            if operator is not last:
                if any(output in self.graph.outputs for output in operator.outputs):
                    return []
                ahead += [user for output in operator.outputs for user in self.graph.users(output)]
        ordered = sorted(between, key=self.order.__getitem__)
        known = {*inside, *_values(ordered)}
        fits = all(
            operator not in self.taken and elementwise(operator, place, self.graph, self.shapes, known)
            for operator in ordered
        )
        return ordered if fits else []


def _values(operators: Sequence[Operator]) -> list[str]:
    return [output for operator in operators for output in operator.outputs if output]


def _post_dominators(graph: Graph) -> dict[str, Operator]:
    """For each value the next operator that every path from it to the outputs goes through, where there is one."""
    backwards = nx.DiGraph()
    backwards.add_node(_END)
    for operator in graph.operators:
        for output in filter(None, operator.outputs):
            backwards.add_edge(output, operator)
            if not graph.users(output):
                backwards.add_edge(_END, output)
        for name in filter(None, operator.inputs):
            backwards.add_edge(operator, name)
    for output in graph.outputs:
        backwards.add_edge(_END, output)
    found = nx.immediate_dominators(backwards, _END)
    return {node: after for node, after in found.items() if isinstance(node, str) and isinstance(after, Operator)}
