"""Values of integers put together from the sizes of graph inputs."""

from __future__ import annotations

import numpy as np

from pruneir.folding.sizes import Column, Samples, varies
from pruneir.graph import Graph, Operator

_SMALL = 8
"""Entries of a dynamic shape that are traced to graph inputs one by one."""


class Roots:
    """Sizes of symbols, each read from a graph input once, and constants, each defined once."""

    def __init__(self, graph: Graph, samples: Samples):
        self.graph, self.samples = graph, samples
        self._made: dict[tuple[str, int], str] = {}
        self._constants: dict[int, str] = {}

    def redefine(self, operator: Operator, name: str) -> bool:
        """Let a value of integers be put together from the sizes of graph inputs and constants."""
        values = self.samples.values(name)
        if values is None or values[0].dtype != np.int64 or values[0].ndim > 1 or values[0].size > _SMALL:
            return False
        columns = list(zip(*(map(int, value.ravel()) for value in values), strict=True))
        if not columns or any(varies(column) and column not in self.samples.roots for column in columns):
            return False
        if operator.is_a("Concat") and all(self._is_root(part) for part in operator.inputs):
            return False
        parts = [self.part(column) for column in columns]
        if values[0].ndim == 0:
            zero = self.graph.define(self.samples.fresh_name(self.graph, f"{name}.axis"), np.array(0))
            new = Operator("Gather", (parts[0], zero), (name,), {"axis": 0}, operator.name)
        elif len(parts) == 1:
            new = Operator("Identity", (parts[0],), (name,), {}, operator.name)
        else:
            new = Operator("Concat", tuple(parts), (name,), {"axis": 0}, operator.name)
        self.graph.replace(operator, new)
        return True

    def _is_root(self, name: str) -> bool:
        return name in self.graph.initializers or name in self._made.values()

    def part(self, column: Column) -> str:
        """A vector of one element: a symbol's size, or a constant."""
        graph = self.graph
        if not varies(column):
            size = column[0]
            if size not in self._constants:
                name = self.samples.fresh_name(graph, f"size_{size}")
                self._constants[size] = graph.define(name, np.array([size]))
            return self._constants[size]
        source, axis = place = self.samples.roots[column]
        if place not in self._made:
            self._made[place] = self.samples.fresh_name(graph, f"{source}.size_{axis}")
            if graph.opset() >= 15:
                ends = {"start": axis, "end": axis + 1}
                graph.add(Operator("Shape", (source,), (self._made[place],), ends, self._made[place]))
            else:
                shape, index = (
                    self.samples.fresh_name(graph, f"{source}.shape"),
                    self.samples.fresh_name(graph, f"{source}.axis_{axis}"),
                )
                graph.add(Operator("Shape", (source,), (shape,), {}, shape))
                graph.define(index, np.array([axis]))
                graph.add(Operator("Gather", (shape, index), (self._made[place],), {"axis": 0}, self._made[place]))
        return self._made[place]
