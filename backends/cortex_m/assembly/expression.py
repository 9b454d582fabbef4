"""What becomes of a sum, as an expression that is rewritten into few operations while it is made.

    a · x + b       with numbers a and b, over whatever is x; chains of these are one
    clip(x)         to [0, ∞), or between two numbers; clips of clips are one
    x + y, x · y    with what lies in an array, of one number a filter or one a sum

A scale is moved into the clip that it is applied to:  y · clip(y + 3, 0, 6) / 6  is  y · clip(y / 6 + 1/2, 0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


class NotWritten(ValueError):
    """An expression that micro-kernels have no instructions for."""


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum itself."""


@dataclass(frozen=True, slots=True)
class Given:
    """What lies in an operand, by its place."""

    operand: int


@dataclass(frozen=True, slots=True)
class Affine:
    """value · scale + offset."""

    value: Expression
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class Clip:
    """A value between bounds, which may be infinite."""

    value: Expression
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pair:
    """`add`, `sub` or `mul` of two values."""

    name: str
    a: Expression
    b: Expression


Expression = Sum | Given | Affine | Clip | Pair
Value = Expression | float


def plus(a: Value, b: Value) -> Value:
    """a + b."""
    if isinstance(a, float):
        return a + b if isinstance(b, float) else affine(b, 1.0, a)
    return affine(a, 1.0, b) if isinstance(b, float) else Pair("add", a, b)


def minus(a: Value, b: Value) -> Value:
    """a - b."""
    if isinstance(b, float):
        return plus(a, -b)
    return affine(b, -1.0, a) if isinstance(a, float) else Pair("sub", a, b)


def times(a: Value, b: Value) -> Value:
    """a · b."""
    if isinstance(a, float):
        return a * b if isinstance(b, float) else affine(b, a, 0.0)
    return affine(a, b, 0.0) if isinstance(b, float) else Pair("mul", a, b)


def over(a: Value, b: Value) -> Value:
    """a / b. NotWritten unless b is a number."""
    if not isinstance(b, float) or b == 0:
        raise NotWritten("a division by what is no number")
    return times(a, 1 / b)


def largest(a: Value, b: Value) -> Value:
    """max(a, b). NotWritten unless one is a number."""
    if isinstance(a, float) and isinstance(b, float):
        return max(a, b)
    value, low = (a, b) if isinstance(b, float) else (b, a)
    if isinstance(value, float) or not isinstance(low, float):
        raise NotWritten("the larger of two values")
    known = value if isinstance(value, Clip) else Clip(value, -inf, inf)
    return Clip(known.value, max(known.low, low), max(known.high, low))


def smallest(a: Value, b: Value) -> Value:
    """min(a, b). NotWritten unless one is a number."""
    if isinstance(a, float) and isinstance(b, float):
        return min(a, b)
    value, high = (a, b) if isinstance(b, float) else (b, a)
    if isinstance(value, float) or not isinstance(high, float):
        raise NotWritten("the smaller of two values")
    known = value if isinstance(value, Clip) else Clip(value, -inf, inf)
    return Clip(known.value, min(known.low, high), min(known.high, high))


def affine(value: Expression, scale: float, offset: float) -> Expression:
    """value · scale + offset, with what is affine in it merged, and clips between numbers moved outwards."""
    if (scale, offset) == (1.0, 0.0):
        return value
    if isinstance(value, Affine):
        return affine(value.value, value.scale * scale, value.offset * scale + offset)
    if isinstance(value, Clip) and -inf < value.low < value.high < inf and scale:
        low, high = sorted((value.low * scale + offset, value.high * scale + offset))
        return Clip(affine(value.value, scale, offset), low, high)
    if isinstance(value, Pair) and value.name == "mul" and not offset:
        if isinstance(value.b, (Clip, Affine)):
            return Pair("mul", value.a, affine(value.b, scale, 0.0))
        if isinstance(value.a, (Clip, Affine)):
            return Pair("mul", affine(value.a, scale, 0.0), value.b)
    return Affine(value, scale, offset)


def only_with(value: Expression, operand: int) -> bool:
    """Whether the sum occurs only with this operand added, and the operand only there."""
    if isinstance(value, Pair):
        if value.name == "add" and {value.a, value.b} == {Sum(), Given(operand)}:
            return True
        return only_with(value.a, operand) and only_with(value.b, operand)
    if isinstance(value, (Affine, Clip)):
        return only_with(value.value, operand)
    return isinstance(value, Given) and value.operand != operand


def replaced(value: Expression, known: Expression) -> Expression:
    """The expression with the sum in the place of another."""
    if value == known:
        return Sum()
    if isinstance(value, Pair):
        return Pair(value.name, replaced(value.a, known), replaced(value.b, known))
    if isinstance(value, Affine):
        return Affine(replaced(value.value, known), value.scale, value.offset)
    if isinstance(value, Clip):
        return Clip(replaced(value.value, known), value.low, value.high)
    return value
