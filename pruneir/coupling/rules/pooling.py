"""Pools and resampling: channels pass through, the image is data."""

from __future__ import annotations

import numpy as np

from pruneir.coupling.rule import Cut, Edit, Op, Refused, rule
from pruneir.coupling.words import FOLD


@rule("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GridSample", "LpPool", "MaxPool")
def pool(op: Op) -> None:
    """Batch and channels stay; the spatial axes are read as windows, or where a grid says."""
    if any(tensor is not None for tensor in op.outputs[1:]):
        raise Refused("returns indices that count through the channels")
    for index in range(2):
        op.keep(op.y.axis(index), op.x.axis(index))


@rule("Resize", "Upsample")
def resize(op: Op) -> None:
    """Axes that keep their length pass through; a constant `sizes` names every axis's length and is rewritten."""
    x, y = op.x, op.y
    kept = [axis for axis in x.axes if axis.length == y.shape[axis.index]]
    for axis in kept:
        op.keep(y.axis(axis.index), axis)
    sizes = op.optional(3)
    if sizes is None or not sizes.shape or not sizes.shape[0]:
        return
    if sizes.value is None or not sizes.constant:
        for axis in kept:
            op.lock(axis, reason="computes its sizes at run time", remedy=FOLD, code="PIR008")
        return
    axes = op.attribute("axes", range(x.rank))
    given = np.array(sizes.value)

    def rewritten(cut: Cut) -> Edit:
        new = given.copy()
        for entry, index in enumerate(axes):
            labels = x.axis(index).labels
            if cut.touches(labels):
                new[entry] = cut.count(labels)
        return Edit(constants={3: new})

    op.on_cut(rewritten)
