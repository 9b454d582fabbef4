"""Operators that compare positions of an axis with each other: that axis stays, the others pass through."""

from __future__ import annotations

from pruneir.coupling.rule import Op, rule
from pruneir.coupling.words import END_BEFORE


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(op: Op) -> None:
    """Normalises over its axis; before opset 13 over all axes from there on."""
    first = op.attribute("axis", -1 if op.opset >= 13 else 1) % op.x.rank
    whole = {first} if op.opset >= 13 else set(range(first, op.x.rank))
    for axis in op.x.axes:
        if axis.index in whole:
            op.lock(axis, reason=f"normalises over axis {axis.index}", remedy=END_BEFORE, code="PIR014")
        op.move(op.y.axis(axis.index), axis.labels, axis)
        op.y.state.zero[axis.index] = False


@rule("ArgMax", "ArgMin")
def arg_extreme(op: Op) -> None:
    """Returns positions of its axis."""
    at = op.attribute("axis", 0) % op.x.rank
    keepdims = op.attribute("keepdims", 1)
    _ranked(op, at)
    out = 0
    for axis in op.x.axes:
        if axis.index != at:
            op.keep(op.y.axis(out), axis)
            op.y.state.zero[out] = False
        out += keepdims if axis.index == at else 1


@rule("TopK", "CumSum")
def ranked(op: Op) -> None:
    """The order of positions on its axis is part of the result."""
    at = op.attribute("axis", -1)
    if op.type == "CumSum":
        at = op.parameter("axis", 1)[0]
    _ranked(op, at % op.x.rank)
    for y in filter(None, op.outputs):
        for axis in op.x.axes:
            if axis.index != at % op.x.rank:
                op.move(y.axis(axis.index), axis.labels, axis)
                y.state.zero[axis.index] = False


def _ranked(op: Op, at: int) -> None:
    op.lock(op.x.axis(at), reason=f"ranks over axis {at}", remedy=END_BEFORE, code="PIR014")
