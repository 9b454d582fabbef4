"""Pointwise operators: every axis passes through, broadcasting lines axes up from the right.

A removed channel is masked to zero where it is made. Whether it is still zero after an operator decides what may be
contracted with it later, so each operator says what it makes of zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pruneir.coupling.rule import Axis, Op, Tensor, rule

_ZERO_TO_ZERO = (
    "Abs Asin Asinh Atan Atanh Cast Ceil Celu Dropout Elu Erf Floor Gelu HardSwish Identity LeakyRelu Mish "
    "Neg Relu Round Selu Shrink Sign Sin Sinh Softsign Sqrt Swish Tan Tanh ThresholdedRelu"
).split()
_ZERO_TO_SOMETHING = "BitwiseNot Cos Cosh Exp HardSigmoid IsInf IsNaN Not Sigmoid Softplus".split()
_UNDEFINED_AT_ZERO = "Acos Acosh Log Reciprocal".split()


@rule(*_ZERO_TO_ZERO)
def zero_to_zero(op: Op) -> None:
    """f(0) = 0."""
    _unary(op, lambda axis: axis.zero)


@rule("CastLike")
def cast_like(op: Op) -> None:
    """Of the second input only the type is read."""
    op.input(1).touched |= set(range(op.input(1).rank))
    _unary(op, lambda axis: axis.zero)


@rule(*_ZERO_TO_SOMETHING)
def zero_to_something(op: Op) -> None:
    """f(0) ≠ 0: the removed channel is a constant from here on."""
    _unary(op, lambda axis: False)


@rule(*_UNDEFINED_AT_ZERO)
def undefined_at_zero(op: Op) -> None:
    """f(0) is not a number, so no channel may be masked before it; unless what is masked is positive all the same."""
    defined = op.type in ("Log", "Reciprocal") and op.positive(op.x.name)
    for axis in () if defined else op.x.axes:
        op.lock(axis, reason="is not defined where a removed channel would be zero", code="PIR011")
    _unary(op, lambda axis: False)


@rule("Clip")
def clip(op: Op) -> None:
    """Zero stays zero if it lies between the bounds."""
    low, high = op.parameter("min", 1, [-np.inf]), op.parameter("max", 2, [np.inf])
    inside = low[0] <= 0 <= high[0]
    _unary(op, lambda axis: axis.zero and inside)


@rule("Add", "Sub", "Sum", "Max", "Min", "Mean", "BitwiseOr", "BitwiseXor", "Or", "Xor")
def zero_if_all_are(op: Op) -> None:
    """Zero where every operand is; an operand that broadcasts along the axis is not."""
    broadcast(op, _operands(op), lambda wide, count: len(wide) == count and all(axis.zero for axis in wide))


@rule("Mul", "And", "BitwiseAnd")
def zero_if_any_is(op: Op) -> None:
    """Zero where any operand is."""
    broadcast(op, _operands(op), lambda wide, count: any(axis.zero for axis in wide), second="factor")


@rule("Div", "Mod")
def zero_if_first_is(op: Op) -> None:
    """0 / x = 0. A masked divisor that is a constant reads one; an activation that may be zero there locks."""
    divisor = op.input(1)
    if not divisor.constant and not (op.type == "Div" and op.positive(divisor.name)):
        for axis in divisor.axes:
            if axis.length > 1:
                op.lock(axis, reason="divides by an activation, which a removed channel would make zero", code="PIR011")
    broadcast(op, _operands(op), lambda wide, count: any(a.zero and a.tensor is op.x for a in wide), second="divisor")


@rule("Pow")
def power(op: Op) -> None:
    """0 ** p = 0 for p > 0; a masked exponent that is a constant reads one. What is positive may have any exponent."""
    exponent = op.input(1)
    if not op.positive(op.x.name) and (exponent.value is None or not (np.asarray(exponent.value) > 0).all()):
        for axis in (*op.x.axes, *exponent.axes):
            op.lock(axis, reason="may have an exponent that is not positive, and is not defined at zero", code="PIR011")
    broadcast(op, _operands(op), lambda wide, count: any(a.zero and a.tensor is op.x for a in wide), second="exponent")


@rule("BitShift", "PRelu")
def scaled(op: Op) -> None:
    """A slope, or how far to shift, per channel or for all."""
    broadcast(op, _operands(op), lambda wide, count: any(a.zero and a.tensor is op.x for a in wide))


@rule("Where")
def where(op: Op) -> None:
    """Zero where both choices are."""
    condition, *choices = _operands(op)
    zero = [all(_zero_at(t, op.y, i) for t in choices) for i in range(op.y.rank)]
    broadcast(op, [condition, *choices], lambda wide, count: False)
    op.y.state.zero = zero


@rule("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def compare(op: Op) -> None:
    """A truth value per position; of zeros it may well be true."""
    broadcast(op, _operands(op), lambda wide, count: False)


def broadcast(
    op: Op, operands: Sequence[Tensor], zero: Callable[[list[Axis], int], bool], second: str = "term"
) -> None:
    """Tie every output axis to the operands' axes of the same length; what broadcasts along it must stay.

    zero    of the axes that face an output axis at full length and the number of operands: is the output zero there?
    second  role of the second operand's axes where it is a constant
    """
    for out in op.y.axes:
        facing = [t.trailing(op.y.rank, out.index) for t in operands]
        wide = [axis for axis in facing if axis is not None and axis.length == out.length]
        zeros = zero(wide, len(operands))
        for axis in wide:
            op.tie(out, axis, role=second if axis.tensor is op.optional(1) else "term")
        for narrow in facing:
            if narrow is not None and narrow.length != out.length:
                op.lock(narrow, reason="broadcasts a single channel", code="PIR005")
        out.tensor.state.zero[out.index] = zeros


def _unary(op: Op, zero: Callable[[Axis], bool]) -> None:
    for y in filter(None, op.outputs):
        for axis in op.x.axes:
            op.move(y.axis(axis.index), axis.labels, axis)
            y.state.zero[axis.index] = zero(axis)


def _operands(op: Op) -> list[Tensor]:
    return [tensor for tensor in op.inputs if tensor is not None]


def _zero_at(tensor: Tensor, out: Tensor, index: int) -> bool:
    axis = tensor.trailing(out.rank, index)
    return axis is not None and axis.length == out.shape[index] and axis.zero
