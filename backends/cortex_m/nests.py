"""Marked loop nests become calls of micro-kernels.

After lowering, a marked nest is  acc[…] += x[…] · w[…]  under loops over a tile and over its terms, with indices that
are linear in the loop variables. Their coefficients are all that a micro-kernel needs to know; what is left of an index
when the variables are zero is where the tile begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import tirx
from tvm.sym import detect_linear_equation
from tvm.tirx import stmt as st

from pruneir.backends.cortex_m.assembly.nest import Nest
from pruneir.backends.cortex_m.schedule import MARK, Tile


@dataclass(frozen=True, slots=True)
class Packing:
    """How a weight is laid out for the micro-kernel: one stream, as it reads.

    outer    loops around the nest that the weight depends on: length, and stride in the weight as it was
    inner    loops over the terms, then the filters, likewise
    filters  length of the filters' loop that there is, which the tiles may exceed, and its stride
    """

    outer: tuple[tuple[int, int], ...]
    inner: tuple[tuple[int, int], ...]
    tile: int
    filter_stride: int
    size: int

    def pack(self, weights: np.ndarray) -> np.ndarray:
        """The weights in the order in which they are read; zeros where a tile reaches beyond the last filter."""
        flat = np.concatenate([weights.ravel(), np.zeros(1, weights.dtype)])
        index = np.zeros(1, np.int64)
        for length, stride in (*self.outer, *self.inner, (self.tile, self.filter_stride)):
            index = (index[:, None] + np.arange(length) * stride).ravel()
        return flat[np.where(index < self.size, index, self.size)]


@dataclass(slots=True)
class Found:
    """What a function's nest became."""

    nest: Nest
    packing: Packing
    weights: str


@dataclass(slots=True)
class Nests:
    """Replaces the marked nest of a function; `name` says what its micro-kernel is called."""

    tile: Tile
    name: Callable[[Nest], str]
    found: Found | None = None
    sums: Any = None
    around: list[tuple[Any, int]] = field(default_factory=list)

    def replaced(self, statement: Any) -> Any:
        """The statement with the marked nest called."""
        if isinstance(statement, st.SeqStmt):
            return st.SeqStmt([self.replaced(each) for each in statement.seq])
        if isinstance(statement, st.For):
            if MARK in statement.annotations:
                return self._call(statement)
            self.around.append((statement.loop_var, int(statement.extent)))
            body = self.replaced(statement.body)
            self.around.pop()
            s = statement
            return st.For(s.loop_var, s.min, s.extent, s.kind, body, s.thread_binding, s.annotations, s.step, s.span)
        if isinstance(statement, st.IfThenElse):
            other = statement.else_case
            return st.IfThenElse(
                statement.condition, self.replaced(statement.then_case), self.replaced(other) if other else None
            )
        if isinstance(statement, st.AttrStmt):
            return st.AttrStmt(statement.node, statement.attr_key, statement.value, self.replaced(statement.body))
        return statement

    def body(self, function: tirx.PrimFunc) -> Any:
        """The function's body with the marked nest called, and room for all sums of its tile."""
        body = self.replaced(function.body)
        return _enlarged(body, self.sums, self.tile.filters * self.tile.points)

    def _call(self, loop: Any) -> Any:
        loops, store = _inside(loop)
        variables = [variable for variable, _ in loops]
        lengths = [length for _, length in loops]
        total, product = store.value.a, store.value.b
        sums, origin = _linear(total.indices[0], variables)
        x, w = product.a, product.b
        strides = [_linear(load.indices[0], variables)[0] for load in (x, w)]
        spatial = [i for i, stride in enumerate(sums) if stride]
        filters = [i for i in spatial if strides[1][i] or not strides[0][i]]
        if any(strides[0][i] for i in filters) or (filters and not strides[1][filters[0]]):
            x, w, strides = w, x, strides[::-1]
            filters = [i for i in spatial if strides[1][i]]
        points = [i for i in spatial if i not in filters]
        terms = [i for i in range(len(loops)) if i not in spatial and lengths[i] > 1]
        if any(sums[i] != 1 for i in points) or any(sums[i] != self.tile.points for i in filters):
            raise ValueError("the sums do not lie in rows of points")
        self.sums = total.source
        nest = Nest(
            filters=self.tile.filters,
            points=self.tile.points,
            step=strides[0][points[0]] if points else 0,
            reduction=tuple((lengths[i], strides[0][i]) for i in terms) or ((1, 0),),
        )
        outer = [variable for variable, _ in self.around]
        w_outer, _ = _linear(w.indices[0], [*outer, *variables])
        x_at = _linear(x.indices[0], variables)[1]
        kept = [(n, stride, v) for (v, n), stride in zip(self.around, w_outer, strict=False) if stride and n > 1]
        size = int(w.source.shape[0])
        packing = Packing(
            outer=tuple((n, stride) for n, stride, _ in kept),
            inner=tuple((lengths[i], strides[1][i]) for i in terms),
            tile=self.tile.filters,
            filter_stride=strides[1][filters[0]] if filters else 0,
            size=size,
        )
        chunk = nest.filters * nest.terms
        at: Any = tirx.const(0, "int32")
        for n, _, variable in kept:
            at = at * n + variable
        self.found = Found(nest, packing, w.source.name)
        arguments = [
            tirx.address_of(_at(total.source, origin)),
            tirx.address_of(_at(x.source, x_at)),
            tirx.address_of(_at(w.source, at * chunk)),
        ]
        return tirx.Evaluate(tirx.call_extern("int32", self.name(nest), *arguments))


def _enlarged(s: Any, buffer: Any, size: int) -> Any:
    """The statement with at least so many elements allocated for a buffer: a tile may reach beyond the last filter."""
    if isinstance(s, st.SeqStmt):
        return st.SeqStmt([_enlarged(each, buffer, size) for each in s.seq])
    if isinstance(s, st.For):
        body = _enlarged(s.body, buffer, size)
        return st.For(s.loop_var, s.min, s.extent, s.kind, body, s.thread_binding, s.annotations, s.step, s.span)
    if isinstance(s, st.AllocBuffer) and s.buffer.same_as(buffer) and int(buffer.shape[0]) < size:
        room = tirx.decl_buffer((size,), buffer.dtype, f"{buffer.name}_room")
        return st.SeqStmt([st.AllocBuffer(room), st.DeclBuffer(buffer, data=room.data)])
    return s


def _inside(loop: Any) -> tuple[list[tuple[Any, int]], Any]:
    """The loops of a nest, outermost first, and its store  acc ← acc + a · b."""
    loops: list[tuple[Any, int]] = []
    stack = [(loop, loops)]
    while stack:
        statement, above = stack.pop()
        if isinstance(statement, st.For):
            if not hasattr(statement.extent, "value"):
                raise ValueError("a marked nest has a loop of no fixed length")
            stack.append((statement.body, [*above, (statement.loop_var, int(statement.extent))]))
        elif isinstance(statement, st.IfThenElse):
            stack.append((statement.then_case, above))
        elif isinstance(statement, st.AttrStmt):
            stack.append((statement.body, above))
        elif isinstance(statement, st.SeqStmt):
            stack.extend((each, above) for each in statement.seq)
        elif hasattr(statement, "value") and type(getattr(statement.value, "b", None)).__name__ == "Mul":
            return above, statement
    raise ValueError("a marked nest is no sum of products")


def _linear(index: Any, variables: list[Any]) -> tuple[list[int], Any]:
    """The coefficients of the variables, and what is left without them. ValueError where an index is not linear."""
    if not variables:
        return [], index
    found = list(detect_linear_equation(index, variables))
    if len(found) != len(variables) + 1:
        raise ValueError(f"{index} is not linear")
    return [int(each) for each in found[:-1]], found[-1]


def _at(buffer: Any, index: Any) -> Any:
    return tirx.BufferLoad(buffer, [index])
