"""Stores of lowered loops, as micro-kernels write them: what lies behind a tile, and loops that sum nothing at all.

for f, p:  out[… + f · stride + p · stride] = expression of acc[f, p], numbers, and arrays that f and p move in
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tvm.sym import detect_linear_equation
from tvm.tirx import stmt as st
from tvm_ffi import structural_equal

from pruneir.backends.cortex_m.assembly import expression as ex
from pruneir.backends.cortex_m.assembly.finish import Finish, Operand, finish
from pruneir.backends.cortex_m.assembly.nest import Nest, Step
from pruneir.backends.cortex_m.schedule import Tile

OPERANDS = 3
"""Operands that a micro-kernel takes at most."""
LOOPS = 3
"""Loops over tiles that it has at most."""
Numbers = Mapping[str, float]
"""What is known of arrays of one element, by name."""

_WORDS: Mapping[str, Callable[[ex.Value, ex.Value], ex.Value]] = {
    "Add": ex.plus,
    "Sub": ex.minus,
    "Mul": ex.times,
    "Div": ex.over,
    "Max": ex.largest,
    "Min": ex.smallest,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pointer starts: an index of a buffer. How far each of some loops moves it, in elements."""

    buffer: Any
    index: Any
    strides: tuple[int, ...] = ()

    def moved_by(self, variables: list[Any]) -> Place:
        """With the strides of loops whose variables are in the index. ValueError where it is not linear in them."""
        found, rest = linear(self.index, variables)
        return Place(self.buffer, rest, tuple(found))


@dataclass(frozen=True, slots=True)
class Tiles:
    """A micro-kernel that is not yet called, so that loops around it may become its own."""

    nest: Nest
    places: tuple[Place, ...]

    def within(self, variable: Any, length: int) -> Tiles | None:
        """All of a loop's tiles; None if the pointers do not move evenly, or loops are too many."""
        if len(self.nest.steps) == LOOPS:
            return None
        try:
            places = tuple(place.moved_by([variable]) for place in self.places)
        except ValueError:
            return None
        step = Step(length, tuple(place.strides[0] for place in places))
        return Tiles(replace(self.nest, steps=(step, *self.nest.steps)), places)


@dataclass(slots=True)
class Stored:
    """What loops over `variables` store for each of their elements.

    sums  the buffer that holds sums, and its strides; None where there are none
    """

    variables: list[Any]
    numbers: Numbers
    sums: Place | None = None
    operands: list[Place] = field(default_factory=list)

    def value(self, expression: Any) -> ex.Value:
        """The expression. NotWritten, or ValueError, for what micro-kernels cannot compute."""
        name = type(expression).__name__
        if name in _WORDS:
            return _WORDS[name](self.value(expression.a), self.value(expression.b))
        if name == "FloatImm":
            return float(expression.value)
        if hasattr(expression, "source") and hasattr(expression, "indices"):
            return self._loaded(expression)
        raise ex.NotWritten(f"{name} of a sum")

    def _loaded(self, load: Any) -> ex.Value:
        place = self.place(load.source, load.indices[0])
        if self.sums is not None and load.source.same_as(self.sums.buffer):
            if place.strides != self.sums.strides or getattr(place.index, "value", None) != 0:
                raise ex.NotWritten("a sum of another place")
            return ex.Sum()
        name = load.source.name  # flattened, it is that of the parameter and a number
        number = self.numbers.get(name, self.numbers.get(name.rpartition("_")[0]))
        if number is not None:
            return number
        for known, operand in enumerate(self.operands):
            alike = operand.buffer.same_as(load.source) and structural_equal(operand.index, place.index)
            if alike and operand.strides == place.strides:
                return ex.Given(known)
        self.operands.append(place)
        if len(self.operands) > OPERANDS:
            raise ex.NotWritten("too many operands")
        return ex.Given(len(self.operands) - 1)

    def place(self, buffer: Any, index: Any) -> Place:
        """What an index means. NotWritten where the values are not of float32."""
        if str(buffer.dtype) != "float32":
            raise ex.NotWritten(f"values of type {buffer.dtype}")
        return Place(buffer, index).moved_by(self.variables)


def epilogue(statement: Any, tile: Tile, sums: Any, numbers: Numbers) -> tuple[Finish, list[Place]]:
    """What the loops behind a tile store for its `sums` [filters, points], and where the output and operands begin.

    NotWritten, or ValueError, for what micro-kernels cannot.
    """
    loops, store = nested(statement)
    lengths = [length for length in (tile.filters, tile.points) if length > 1]
    if [length for _, length in loops] != lengths:
        raise ex.NotWritten("other loops than those of the tile")

    def both(strides: tuple[int, ...]) -> tuple[int, int]:
        found = iter(strides)
        return next(found) if tile.filters > 1 else 0, next(found) if tile.points > 1 else 0

    rows = tuple(stride for stride, length in ((tile.points, tile.filters), (1, tile.points)) if length > 1)
    stored = Stored([variable for variable, _ in loops], numbers, Place(sums, 0, rows))
    out = stored.place(store.buffer, store.indices[0])
    value = stored.value(store.value)
    operands = tuple(Operand(*both(place.strides)) for place in stored.operands)
    return finish(value, operands, *both(out.strides)), [out, *stored.operands]


def nested(statement: Any) -> tuple[list[tuple[Any, int]], Any]:
    """Loops that do nothing but store once, outermost first. NotWritten for others."""
    loops: list[tuple[Any, int]] = []
    while isinstance(statement, st.For):
        if not from_zero(statement):
            raise ex.NotWritten("a loop that starts elsewhere")
        loops.append((statement.loop_var, int(statement.extent)))
        statement = statement.body
    if not isinstance(statement, st.BufferStore):
        raise ex.NotWritten("more than a store")
    return loops, statement


def from_zero(loop: Any) -> bool:
    """Whether a loop counts from zero."""
    return getattr(loop.min, "value", None) == 0


def linear(index: Any, variables: list[Any]) -> tuple[list[int], Any]:
    """The coefficients of the variables, and what is left without them. ValueError where an index is not linear."""
    if not variables:
        return [], index
    found = list(detect_linear_equation(index, variables))
    if len(found) != len(variables) + 1:
        raise ValueError(f"{index} is not linear")
    return [int(each) for each in found[:-1]], found[-1]
