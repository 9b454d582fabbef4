"""Operators that keep every element and change how axes are counted: positions move, none is mixed."""

from __future__ import annotations

from math import prod

from pruneir.coupling import labels as lab
from pruneir.coupling.rule import Cut, Op, Refused, rule
from pruneir.coupling.words import FOLD


@rule("Flatten", "Squeeze", "Unsqueeze")
def recount(op: Op) -> None:
    """A reshape whose target follows from the input's shape by itself."""
    _reshaped(op)
    for tensor in filter(None, op.inputs[1:]):
        tensor.touched |= set(range(tensor.rank))


@rule("Reshape")
def reshape(op: Op) -> None:
    """Row-major; the target's entries for cut axes are rewritten, 0 (copy) and −1 (the rest) keep their meaning."""
    x, y = op.x, op.y
    _reshaped(op)
    target = op.optional(1)
    if "shape" not in op.operator.attributes and (target is None or not target.constant):
        for axis in (*x.axes, *y.axes):
            op.lock(axis, reason="computes its target shape at run time", remedy=FOLD, code="PIR008")
        return
    given = op.parameter("shape", 1)
    copies = not op.attribute("allowzero", 0)

    def entries(cut: Cut) -> list[int]:
        new = list(given)
        for index, entry in enumerate(given):
            labels = y.axis(index).labels
            copied = entry == 0 and copies
            if (copied and cut.count(x.axis(index).labels) != cut.count(labels)) or (
                entry != -1 and not copied and cut.touches(labels)
            ):
                new[index] = cut.count(labels)
        return new

    op.rewrite("shape", 1, entries)


@rule("Transpose")
def transpose(op: Op) -> None:
    """Output axis i is input axis perm[i]."""
    perm = op.attribute("perm", tuple(reversed(range(op.x.rank))))
    for out, source in zip(op.y.axes, perm, strict=True):
        op.keep(out, op.x.axis(source))


@rule("Shape")
def shape(op: Op) -> None:
    """Reads lengths: an axis whose length is used must keep it. Which entries are used, the readers say."""
    used = op.used_positions()
    start = range(op.x.rank)[op.attribute("start", 0) :].start
    for axis in op.x.axes:
        if axis.index - start in used and not axis.labels.is_data:
            op.lock(axis, reason=f"reads the length of axis {axis.index}", remedy=FOLD, code="PIR009")
        op.x.touched.add(axis.index)


@rule("DepthToSpace")
def depth_to_space(op: Op) -> None:
    """[N, C·r², H, W] → [N, C, H·r, W·r]: a reshape that splits channels, a transpose, a reshape that merges them."""
    x, y, r = op.x, op.y, op.attribute("blocksize")
    depth_first = op.attribute("mode", "DCR") == "DCR"
    n, c, h, w = (axis.labels for axis in x.axes)
    channels = len(c) // (r * r)
    if depth_first:
        rows, columns, kept = lab.split(op.generators, c, (r, r, channels))
    else:
        kept, rows, columns = lab.split(op.generators, c, (channels, r, r))
    for part in (rows, columns):
        op.hold(part, "spreads these channels over rows and columns of the image", code="PIR013")
    op.move(y.axis(0), n, x.axis(0))
    op.move(y.axis(1), kept, x.axis(1))
    op.move(y.axis(2), lab.data(len(h) * r), x.axis(2))
    op.move(y.axis(3), lab.data(len(w) * r), x.axis(3))
    for axis in x.axes[2:]:
        op.lock(axis, reason="makes more rows and columns of each", code="PIR003")


def _reshaped(op: Op) -> None:
    if prod(op.x.shape) != prod(op.y.shape):
        raise Refused(f"reshapes {list(op.x.shape)} to {list(op.y.shape)}", "Give --input-shape")
    labels = [axis.labels for axis in op.x.axes]
    zero = all(axis.zero for axis in op.x.axes if op.can_die(axis.labels))
    for out, new in zip(op.y.axes, lab.reshape(op.generators, labels, op.y.shape), strict=True):
        out.assign(new, zero)
