"""Shapes at several choices of every symbolic size: what is equal in all of them does not depend on the symbols.

The third choice is far from the other two (batch 1, other axes three times as long) and gives symbols of different
names different sizes, so that neither a clamped size nor two equal axes pass for something that they are not.
More choices have odd sizes, as far as the graph fits any, so that no rounding to a multiple passes for a size itself.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pruneir.graph import Graph
from pruneir.shapes import Shapes, Sizes, at_other_sizes, infer, odd_points, symbol_of

Column = tuple[int, ...]
"""One size at every choice."""


def varies(column: Column) -> bool:
    """Whether a size depends on the symbols."""
    return len(set(column)) > 1


class Samples:
    """The shapes and small values of a graph, inferred when they are first asked for."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def fresh_name(self, graph: Graph, wanted: str) -> str:
        """A name that is new both to a graph made from this one and to this one, which has shapes for its own names."""
        return graph.fresh_name(wanted, also=self.graph.network)

    @cached_property
    def first(self) -> Shapes:
        """The shapes at one choice."""
        return infer(self.graph)

    @cached_property
    def points(self) -> tuple[Shapes, ...]:
        """The shapes at every choice: one if nothing is symbolic."""
        first, second = self.first, at_other_sizes(self.graph, self.first)
        if first is second:
            return (first,)
        for distinct in (True, False):
            third = infer(self.graph, self._far(first, second, distinct))
            if len(third.failures) <= len(first.failures):
                return (first, second, third, *self._odd)
        return (first, second, *self._odd)

    @cached_property
    def _odd(self) -> list[Shapes]:
        return odd_points(self.graph, self.first, at_other_sizes(self.graph, self.first))

    def shape(self, name: str) -> tuple[Column, ...] | None:
        """The length of every axis at every choice; None where the shape, or the rank, depends on data."""
        if name in self.graph.initializers:
            return tuple((n,) * len(self.points) for n in self.graph.initializers[name].shape)
        shapes = [point.shape(name) for point in self.points]
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes) or len({len(shape) for shape in known}) > 1:
            return None
        return tuple(zip(*known, strict=True))

    def rank(self, name: str) -> int | None:
        """The number of axes."""
        if name in self.graph.initializers:
            return int(self.graph.initializers[name].ndim)
        shape = self.first.shape(name)
        return None if shape is None else len(shape)

    def same(self, a: str, b: str) -> bool:
        """Whether two values have one shape, whatever the symbols."""
        first = self.first.shape(a)
        if first is None or first != self.first.shape(b):
            return False
        shape = self.shape(a)
        return shape is not None and shape == self.shape(b) and all(map(self.is_certain, shape))

    def values(self, name: str) -> list[np.ndarray] | None:
        """The contents at every choice; None where they depend on data, or on a choice in their shape."""
        if name in self.graph.initializers:
            return [self.graph.initializers[name]] * len(self.points)
        found = [point.value(name) for point in self.points]
        known = [value for value in found if value is not None]
        if len(known) < len(found) or len({(value.shape, value.dtype) for value in known}) > 1:
            return None
        return known

    def static(self, name: str) -> np.ndarray | None:
        """The content, where it depends neither on data nor on symbols."""
        values = self.values(name)
        if values is None or any(not np.array_equal(value, values[0]) for value in values):
            return None
        return values[0]

    @cached_property
    def roots(self) -> dict[Column, tuple[str, int]]:
        """The graph input and axis that a symbolic size is read from; sizes that could be two symbols are left out."""
        single = {column: places for column, places in self._symbols.items() if len(set(places.values())) == 1}
        found = {column: next(iter(places)) for column, places in single.items()}
        return found if self.tells_roundings else {column: place for column, place in found.items() if place[1] == 0}

    def is_certain(self, column: Column) -> bool:
        """Whether equality with this size at every choice is equality always.

        It is not where two symbols share their sizes, nor where sizes but the batch were tried as round numbers alone.
        """
        if len(set(column)) == 1 or column in self.roots:
            return True
        return self.tells_roundings and len(self.roots) == len(self._symbols)

    @cached_property
    def tells_roundings(self) -> bool:
        """Whether every symbol but the batch was tried at odd sizes, or at odd multiples of what it must."""
        return bool(self._odd) or not any(axis for places in self._symbols.values() for _, axis in places)

    @cached_property
    def _symbols(self) -> dict[Column, dict[tuple[str, int], str]]:
        """By size at every choice: the inputs' axes with it, and their symbols."""
        found: dict[Column, dict[tuple[str, int], str]] = {}
        for name in self.points[0].inputs:
            columns = zip(*(point.inputs[name] for point in self.points), strict=True)
            for axis, column in enumerate(columns):
                if len(set(column)) > 1:
                    found.setdefault(column, {})[name, axis] = symbol_of(self.graph, name, axis)
        return found

    def _far(self, first: Shapes, second: Shapes, distinct: bool) -> Sizes:
        order: dict[str, int] = {}
        sizes = {}
        for name, shape in first.inputs.items():
            dims = list(shape)
            for axis, (near, other) in enumerate(zip(shape, second.inputs[name], strict=True)):
                if near != other:
                    index = order.setdefault(symbol_of(self.graph, name, axis), len(order)) if distinct else 0
                    dims[axis] = 1 + index if axis == 0 else 3 * other + 32 * index
            sizes[name] = tuple(dims)
        return sizes
