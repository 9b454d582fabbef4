"""Marked loop nests become calls of micro-kernels.

After lowering, a marked nest is  acc[…] += x[…] · w[…]  under loops over a tile and over its terms, with indices that
are linear in the loop variables. Their coefficients are all that a micro-kernel needs to know; what is left of an index
when the variables are zero is where the tile begins. An epilogue that micro-kernels can write goes into the call with
it, and then loops over tiles do, as far as all pointers move evenly in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tvm import tirx
from tvm.tirx import stmt as st

from pruneir.backends.cortex_m.assembly.nest import Nest, Stream
from pruneir.backends.cortex_m.choose import Write
from pruneir.backends.cortex_m.epilogue import Numbers, Place, Tiles, epilogue, from_zero, linear
from pruneir.backends.cortex_m.packing import Packing
from pruneir.backends.cortex_m.rows import rows
from pruneir.backends.cortex_m.schedule import MARK, Tile
from pruneir.backends.cortex_m.sparse import TERMS, StreamPacking, terms


@dataclass(slots=True)
class Found:
    """What a function's nest became."""

    nest: Nest
    packing: Packing | StreamPacking | None


@dataclass(slots=True)
class Nests:
    """Replaces the marked nest of a function, and all else that micro-kernels can do.

    name     says what a micro-kernel is called
    numbers  what is known of arrays of one element
    tile     that of the marked nest; None where there is none
    write    what writes micro-kernels; None where only the marked nest is of interest
    stream   how weights lie of which some are not there
    """

    name: Callable[[Nest], str]
    numbers: Numbers
    tile: Tile | None = None
    write: Write | None = None
    stream: Stream | None = None
    found: Found | None = None
    sums: Any = None
    around: list[tuple[Any, int]] = field(default_factory=list)

    def body(self, function: tirx.PrimFunc) -> Any:
        """The function's body with micro-kernels called, and room for all sums of a tile."""
        body = self._statement(function.body)
        return _enlarged(body, self.sums, self.tile.filters * self.tile.points) if self.tile is not None else body

    def _statement(self, s: Any) -> Any:
        """The statement with micro-kernels called."""
        replaced = self._replaced(s)
        return self._called(replaced) if isinstance(replaced, Tiles) else replaced

    def _replaced(self, s: Any) -> Any:
        """The same, or Tiles where there is nothing else in the statement."""
        if isinstance(s, st.SeqStmt):
            return self._sequence(list(s.seq))
        if isinstance(s, st.For):
            if self.tile is not None and MARK in s.annotations:
                return self._called(self._tiles(s, self.tile))
            return self._loop(s)
        if isinstance(s, st.IfThenElse):
            other = s.else_case
            return st.IfThenElse(s.condition, self._statement(s.then_case), self._statement(other) if other else None)
        if isinstance(s, st.AttrStmt):
            return st.AttrStmt(s.node, s.attr_key, s.value, self._statement(s.body))
        return s

    def _loop(self, s: Any) -> Any:
        whole = rows(s, self.numbers, self.write) if self.write is not None else None
        if whole is not None:
            return whole
        self.around.append((s.loop_var, int(s.extent)))
        body = self._replaced(s.body)
        self.around.pop()
        if isinstance(body, Tiles):
            whole = body.within(s.loop_var, int(s.extent)) if from_zero(s) else None
            if whole is not None:
                return whole
            body = self._called(body)
        return st.For(s.loop_var, s.min, s.extent, s.kind, body, s.thread_binding, s.annotations, s.step, s.span)

    def _sequence(self, statements: list[Any]) -> Any:
        """Statements in a row; the nest takes the epilogue behind it in, if it can."""
        at = next((i for i, s in enumerate(statements) if isinstance(s, st.For) and MARK in s.annotations), None)
        if at is None or at + 1 == len(statements) or self.tile is None:
            return st.SeqStmt([self._statement(each) for each in statements])
        tiles = self._tiles(statements[at], self.tile)
        before, behind = statements[:at], statements[at + 2 :]
        try:
            finish, (out, *operands) = epilogue(statements[at + 1], self.tile, self.sums, self.numbers)
            whole = Tiles(replace(tiles.nest, finish=finish), (out, *tiles.places[1:], *operands))
            if self.write is not None:
                self.write("", whole.nest)
        except ValueError:  # no instructions for it, or too few registers
            behind = statements[at + 1 :]
        else:
            tiles = whole
            if all(isinstance(s, st.AllocBuffer) and s.buffer.same_as(self.sums) for s in before + behind):
                return tiles
        return st.SeqStmt([*map(self._statement, before), self._called(tiles), *map(self._statement, behind)])

    def _tiles(self, loop: Any, tile: Tile) -> Tiles:
        """The nest, storing its sums as they are; what is found about its weights is kept."""
        loops, store = _inside(loop)
        variables = [variable for variable, _ in loops]
        lengths = [length for _, length in loops]
        total, summed = store.value.a, store.value.b
        weighted = hasattr(summed, "a")
        sums, origin = linear(total.indices[0], variables)
        x, w = (summed.a, summed.b) if weighted else (summed, summed)
        strides = [linear(load.indices[0], variables)[0] for load in (x, w)]
        if not weighted:
            strides[1] = [0] * len(variables)
        spatial = [i for i, stride in enumerate(sums) if stride]
        filters = [i for i in spatial if strides[1][i] or not strides[0][i]]
        if any(strides[0][i] for i in filters) or (filters and not strides[1][filters[0]]):
            x, w, strides = w, x, strides[::-1]
            filters = [i for i in spatial if strides[1][i]]
        points = [i for i in spatial if i not in filters]
        summed_over = [i for i in range(len(loops)) if i not in spatial and lengths[i] > 1]
        if any(sums[i] != 1 for i in points) or any(sums[i] != tile.points for i in filters):
            raise ValueError("the sums do not lie in rows of points")
        self.sums = total.source
        nest = Nest(
            filters=tile.filters,
            points=tile.points,
            step=strides[0][points[0]] if points else 0,
            reduction=tuple((lengths[i], strides[0][i]) for i in summed_over) or ((1, 0),),
            weighted=weighted,
        )
        if not weighted:
            x_at = linear(x.indices[0], variables)[1]
            self.found = Found(nest, None)
            return Tiles(nest, (Place(total.source, origin), Place(x.source, x_at), Place(x.source, 0)))
        outer = [variable for variable, _ in self.around]
        w_outer, _ = linear(w.indices[0], [*outer, *variables])
        x_at = linear(x.indices[0], variables)[1]
        kept = [(n, stride, v) for (v, n), stride in zip(self.around, w_outer, strict=False) if stride and n > 1]
        packing = Packing(
            outer=tuple((n, stride) for n, stride, _ in kept),
            inner=tuple((lengths[i], strides[1][i]) for i in summed_over),
            tile=tile.filters,
            filter_stride=strides[1][filters[0]] if filters else 0,
            size=int(w.source.shape[0]),
        )
        at: Any = tirx.const(0, "int32")
        for n, _, variable in kept:
            at = at * n + variable
        if self.stream is not None:
            streamed = StreamPacking(terms(nest, packing, tile.filters), self.stream)
            if kept or not streamed.terms.plain or streamed.terms.wide != self.stream.wide:
                raise ValueError("the weights are no stream")
            nest = replace(nest, reduction=TERMS, stream=self.stream)
        self.found = Found(nest, packing if self.stream is None else streamed)
        starts = ((total.source, origin), (x.source, x_at), (w.source, at * (nest.filters * nest.terms)))
        return Tiles(nest, tuple(Place(*start) for start in starts))

    def _called(self, tiles: Tiles) -> Any:
        """The call of a micro-kernel."""
        if self.found is not None and tiles.nest.reduction:
            self.found.nest = tiles.nest
        arguments = [tirx.address_of(tirx.BufferLoad(place.buffer, [place.index])) for place in tiles.places]
        return tirx.Evaluate(tirx.call_extern("int32", self.name(tiles.nest), *arguments))


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
    """The loops of a nest, outermost first, and its store  acc ← acc + a · b  or  acc ← acc + a."""
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
        elif hasattr(statement, "value") and type(statement.value).__name__ == "Add":
            return above, statement
    raise ValueError("a marked nest is no sum")
