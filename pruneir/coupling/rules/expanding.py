"""Operators that repeat positions."""

from __future__ import annotations

import numpy as np

from pruneir.coupling import labels as lab
from pruneir.coupling.labels import Labels
from pruneir.coupling.rule import Axis, Cut, Edit, Op, rule
from pruneir.coupling.words import FOLD


@rule("Expand")
def expand(op: Op) -> None:
    """Broadcasts to a shape, where 1 keeps an axis. A single position becomes n copies, which may go one by one; the
    position itself stays. A shape that is computed at run time names the length of every axis but those.
    """
    x, y, shape = op.x, op.y, op.input(1)
    for out in y.axes:
        facing = x.trailing(y.rank, out.index)
        if facing is not None and facing.length == out.length:
            op.keep(out, facing)
        elif facing is None or facing.length == 1:
            if facing is not None:
                op.lock(facing, reason="broadcasts a single channel", code="PIR005")
            out.assign(_copies(op, out, shape.constant), False)
    given = op.parameter("shape", 1)
    lead = y.rank - len(given)
    if not shape.constant:
        for index, entry in enumerate(given):
            facing = x.trailing(y.rank, lead + index)
            if entry != 1 and facing is not None and facing.length > 1:
                op.lock(facing, reason="computes its shape at run time", remedy=FOLD, code="PIR008")
        return
    shape.touched.add(0)

    def counted(cut: Cut) -> Edit:
        counts = [cut.count(y.axis(lead + i).labels) if n > 1 else n for i, n in enumerate(given)]
        return Edit(constants={1: np.array(counts)})

    op.on_cut(counted)


@rule("Tile")
def tile(op: Op) -> None:
    """Repeats an axis end to end."""
    for axis, times in zip(op.x.axes, op.parameter("repeats", 1), strict=True):
        labels = axis.labels
        repeated = Labels(labels.base, labels.inner, labels.outer * int(times))
        op.move(op.y.axis(axis.index), repeated, axis)


@rule("SpaceToDepth")
def space_to_depth(op: Op) -> None:
    """[N, C, H, W] → [N, r²·C, H/r, W/r]: each channel stands once for every place in an r × r tile."""
    x, y, r = op.x, op.y, op.attribute("blocksize")
    labels = x.axis(1).labels
    op.keep(y.axis(0), x.axis(0))
    op.move(y.axis(1), Labels(labels.base, labels.inner, labels.outer * r * r), x.axis(1))


def _copies(op: Op, out: Axis, constant: bool) -> Labels:
    """Fresh labels for n copies; none where the shape is not ours to rewrite."""
    if out.length > 1 and constant:
        return lab.single(op.generators.fresh(out.length))
    return lab.data(out.length)
