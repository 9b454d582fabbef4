"""Quantised networks: a scale and a zero point per channel are cut with it, or one pair serves all."""

from __future__ import annotations

from pruneir.coupling.rule import Op, rule


@rule("QuantizeLinear", "DequantizeLinear")
def quantize(op: Op) -> None:
    """y = x / scale + zero_point and back; the real number zero stays zero."""
    x, y = op.x, op.y
    for axis in x.axes:
        op.keep(y.axis(axis.index), axis)
        if x.constant:
            x.roles[axis.index] = "quantized"
    if op.input(1).rank == 1 and op.input(1).shape[0] == x.shape[op.attribute("axis", 1) % x.rank]:
        for slot in (1, 2):
            tensor = op.optional(slot)
            if tensor is not None:
                role = "offset" if slot == 2 else "divisor" if op.type == "QuantizeLinear" else "scale"
                op.tie(y.axis(op.attribute("axis", 1)), tensor.axis(0), role=role)


@rule("DynamicQuantizeLinear")
def dynamic_quantize(op: Op) -> None:
    """The scale is that of the whole tensor, whose extremes a channel may hold."""
    for axis in op.x.axes:
        op.lock(axis, reason="takes its scale from the whole tensor")
        op.move(op.y.axis(axis.index), axis.labels, axis)
