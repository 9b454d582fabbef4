"""What becomes of a sum before it is stored, as operations in the order of execution, and where it is stored.

A clip between two numbers is  a · unit(x) + b,  unit a clip to [0, 1], as conversion to fixed point and back is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from pruneir.backends.cortex_m.assembly.expression import (
    Affine,
    Expression,
    Given,
    NotWritten,
    Pair,
    Sum,
    Value,
    affine,
    only_with,
    replaced,
)

_WIDEST = 64.0
"""Of a clip: a unit has 2⁻²⁴ of its width for a step."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of an expression, in the order of execution.

    name    load, add, sub, mul, scale, offset, relu, unit
    inputs  the steps that it reads; the sum is -1
    number  factor, summand, or place of the operand
    """

    name: str
    inputs: tuple[int, ...]
    number: float = 0.0


@dataclass(frozen=True, slots=True)
class Operand:
    """An array that an expression reads: how far a filter and a point move in it, in elements."""

    filters: int
    points: int


@dataclass(frozen=True, slots=True)
class Finish:
    """What is stored for each sum, and where.

    operations  the steps; none where sums are stored as they are
    operands    arrays that they load from
    bias        operand that sums start from, or that is the sums; None where they start from zero
    filters, points   distance of what is stored for neighbouring filters and points, in elements
    """

    operations: tuple[Operation, ...]
    operands: tuple[Operand, ...]
    bias: int | None
    filters: int
    points: int

    @property
    def numbers(self) -> tuple[float, ...]:
        """Factors and summands, each once."""
        return tuple(dict.fromkeys(o.number for o in self.operations if o.name in ("scale", "offset")))


def finish(value: Value, operands: tuple[Operand, ...], filters: int, points: int) -> Finish:
    """How a value is computed and stored. NotWritten where there are no instructions for it."""
    if isinstance(value, float):
        raise NotWritten("a number alone")
    starts = [k for k, operand in enumerate(operands) if operand.points == 0]
    bias = next((k for k in starts if only_with(value, k)), None)
    if bias is not None:
        value = replaced(replaced(value, Pair("add", Sum(), Given(bias))), Pair("add", Given(bias), Sum()))
    operations: list[Operation] = []
    if _listed(value, operations) != -1 and operations[-1].name == "load":
        raise NotWritten("an operand alone")
    return Finish(tuple(operations), operands, bias, filters, points)


def elementwise(value: Value, operands: tuple[Operand, ...], filters: int, points: int) -> Finish:
    """How a value of operands alone is computed and stored. NotWritten where there are no instructions for it."""
    first = next((k for k, operand in enumerate(operands) if operand.points), None)
    if isinstance(value, float) or first is None:
        raise NotWritten("nothing for each point")
    operations: list[Operation] = []
    _listed(replaced(value, Given(first)), operations)
    return Finish(tuple(operations), operands, first, filters, points)


def _listed(value: Expression, steps: list[Operation]) -> int:
    """The step that computes a value, behind those that it reads."""

    def added(name: str, *inputs: int, number: float = 0.0) -> int:
        steps.append(Operation(name, inputs, number))
        return len(steps) - 1

    if isinstance(value, Sum):
        return -1
    if isinstance(value, Given):
        return added("load", number=value.operand)
    if isinstance(value, Pair):
        return added(value.name, _listed(value.a, steps), _listed(value.b, steps))
    if isinstance(value, Affine):
        at = _listed(value.value, steps)
        at = added("scale", at, number=value.scale) if value.scale != 1 else at
        return added("offset", at, number=value.offset) if value.offset else at
    if (value.low, value.high) == (0.0, inf):
        return added("relu", _listed(value.value, steps))
    width = value.high - value.low
    if not 0 < width <= _WIDEST:
        raise NotWritten(f"a clip to [{value.low}, {value.high}]")
    at = added("unit", _listed(affine(value.value, 1 / width, -value.low / width), steps))
    at = added("scale", at, number=width) if width != 1 else at
    return added("offset", at, number=value.low) if value.low else at
