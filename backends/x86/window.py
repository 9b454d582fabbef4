"""Operators whose window moves over an image, as a geometry: kernel, strides, dilations, padding."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from pruneir.backends.x86.tiling import Geometry
from pruneir.backends.x86.work import Setting
from pruneir.graph import Operator


def window(operator: Operator, setting: Setting, kernel: tuple[int, ...] | None = None) -> Geometry | None:
    """The geometry of an operator whose window moves over one or two axes; None where it has other axes.

    kernel  its window, if it has no weights
    """
    shape, out = setting.shape(operator), setting.shapes.shape(operator.outputs[0])
    if shape is None or out is None or len(shape) not in (3, 4) or not prod(out):
        return None
    axes = len(shape) - 2
    if kernel is None:
        weights = setting.constant(operator, 1)
        if weights is None or weights.dtype != np.float32:
            return None
        kernel = weights.shape[2:]
    strides = operator.attribute("strides") or (1,) * axes
    dilations = operator.attribute("dilations") or (1,) * axes
    before = _pads(operator, shape[2:], out[2:], kernel, strides, dilations)
    ih, iw = two(shape[2:])
    oh, ow = two(out[2:])
    kh, kw = two(kernel)
    sh, sw = two(strides)
    dh, dw = two(dilations)
    pt, pl = two(before, 0)
    return Geometry(shape[0], ih, iw, shape[1], oh, ow, out[1], kh, kw, sh, sw, dh, dw, pt, pl)


def behind(g: Geometry) -> tuple[int, int]:
    """Padding below and to the right, as much as windows need."""
    high = (g.oh - 1) * g.sh + (g.kh - 1) * g.dh + 1 - g.ih - g.pt
    wide = (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1 - g.iw - g.pl
    return max(0, high), max(0, wide)


def two(values: Sequence[int], fill: int = 1) -> tuple[int, int]:
    """What two axes have, of which the first may be missing."""
    first, second = (*(fill,) * (2 - len(values)), *values)
    return int(first), int(second)


def _pads(
    operator: Operator,
    shape: tuple[int, ...],
    out: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    """Padding in front of each axis."""
    auto = operator.attribute("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return tuple((operator.attribute("pads") or (0,) * 2 * len(shape))[: len(shape)])
    if auto == "VALID":
        return (0,) * len(shape)
    total = [
        max(0, (o - 1) * s + (k - 1) * d + 1 - i)
        for i, o, k, s, d in zip(shape, out, kernel, strides, dilations, strict=True)
    ]
    return tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total)
