"""Quantised networks: a step and a zero point per channel are cut with it, or one pair serves all, or a block.

Integers that stand for weights read their zero point two inputs further on: in every one of these operators.
"""

from __future__ import annotations

from pruneir.coupling.rule import Axis, Op, Refused, rule
from pruneir.coupling.rules.convolution import convolve
from pruneir.coupling.rules.linear import multiply


@rule("QuantizeLinear", "DequantizeLinear")
def quantize(op: Op) -> None:
    """y = x / scale + zero_point and back; the real zero stays zero. Channels that share scales in blocks stay."""
    x, y = op.x, op.y
    for axis in x.axes:
        op.keep(y.axis(axis.index), axis)
        if x.constant:
            x.roles[axis.index] = "quantized"
    blocked = bool(op.attribute("block_size", 0))
    for slot in (1, 2):
        tensor = op.optional(slot)
        if tensor is None or not tensor.rank or not x.rank:
            continue
        role = "offset" if slot == 2 else "divisor" if op.type == "QuantizeLinear" else "step"
        outs = y.axes if blocked else [y.axis(op.attribute("axis", 1))]
        if len(outs) != tensor.rank:
            raise Refused(f"has scales or zero points of {tensor.rank} axes")
        for out, given in zip(outs, tensor.axes, strict=True):
            if given.length == out.length:
                op.tie(out, given, role=role)
            elif blocked:
                op.lock(out, reason=f"has a scale for each block of axis {out.index}", code="PIR016")


@rule("DynamicQuantizeLinear")
def dynamic_quantize(op: Op) -> None:
    """The scale is that of the whole tensor, whose extremes a channel may hold."""
    for axis in op.x.axes:
        op.lock(axis, reason="takes its scale from the extremes of the whole tensor", code="PIR015")
        op.move(op.y.axis(axis.index), axis.labels, axis)


@rule("QLinearConv")
def qlinear_conv(op: Op) -> None:
    """x, its scale and zero point, W, its scale and zero point, the result's, bias: a Conv on the real numbers."""
    convolve(op, op.input(3), op.optional(8))
    _per_channel(op, op.y.axis(1), 4, 5)


@rule("ConvInteger")
def conv_integer(op: Op) -> None:
    """x, W and their zero points: a Conv whose result is an exact integer."""
    convolve(op, op.input(1), None)
    _per_channel(op, op.y.axis(1), 3)


@rule("QLinearMatMul")
def qlinear_matmul(op: Op) -> None:
    """a, its scale and zero point, b, its scale and zero point, the result's."""
    multiply(op, op.x, op.input(3))
    _per_channel(op, op.y.axis(-1), 4, 5)


@rule("MatMulInteger")
def matmul_integer(op: Op) -> None:
    """A, B and their zero points."""
    multiply(op, op.x, op.input(1))
    _per_channel(op, op.y.axis(-1), 3)


def _per_channel(op: Op, out: Axis, *slots: int) -> None:
    """Steps and zero points of the weights' output channels."""
    for slot in slots:
        tensor = op.optional(slot)
        if tensor is not None and tensor.rank and tensor.axis(-1).length == out.length > 1:
            op.tie(out, tensor.axis(-1), role="offset" if slot == slots[-1] else "step")
