"""The patches under a kernel, as a view of the padded input: strides, dilations, pads, `auto_pad`, any rank.

A transposed convolution is an ordinary one of stride 1, over its input with stride − 1 zeros between the pixels and
with the kernel turned round: padded by span − 1 − pad, where the span is d·(k − 1) + 1.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pruneir.graph import Operator

Pads = list[tuple[int, int]]


def windows(operator: Operator, kernel: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    """The patches of a Conv or ConvTranspose for `x[N, C, …]`, `[N, C, outputs…, taps…]`; taps in the order of W."""
    rank = len(kernel)
    axes = tuple(range(2, 2 + rank))
    ones = (1,) * rank
    strides = tuple(operator.attribute("strides", ones))
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, operator.attribute("dilations", ones), strict=True))
    if operator.is_a("Conv"):
        padded = _padded(x, _pads(operator, x.shape[2:], strides, spans))
    else:
        padded = _padded(_stuffed(x, strides), _transposed_pads(operator, x.shape[2:], strides, spans))
    steps = strides if operator.is_a("Conv") else ones
    taps = tuple(operator.attribute("dilations", ones))
    view = sliding_window_view(padded, spans, axis=axes)
    pick = (slice(None), slice(None), *(slice(None, None, s) for s in steps), *(slice(None, None, d) for d in taps))
    view = view[pick]
    return view if operator.is_a("Conv") else np.flip(view, axis=tuple(range(2 + rank, 2 + 2 * rank)))


def _pads(operator: Operator, sizes: tuple[int, ...], strides: tuple[int, ...], spans: tuple[int, ...]) -> Pads:
    auto = operator.attribute("auto_pad", "NOTSET")
    if auto == "VALID":
        return [(0, 0)] * len(spans)
    if auto == "NOTSET":
        return _given(operator, len(spans))
    totals = [
        max((-(-size // stride) - 1) * stride + span - size, 0)
        for size, stride, span in zip(sizes, strides, spans, strict=True)
    ]
    return _split(totals, less_in_front=auto == "SAME_UPPER")


def _transposed_pads(
    operator: Operator, sizes: tuple[int, ...], strides: tuple[int, ...], spans: tuple[int, ...]
) -> Pads:
    """Zeros around the stuffed input: the operator's own pads crop its output instead."""
    auto = operator.attribute("auto_pad", "NOTSET")
    extra = operator.attribute("output_padding", (0,) * len(spans))
    wanted = operator.attribute("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if wanted is not None:
        full = [s * (n - 1) + e + span for n, s, e, span in zip(sizes, strides, extra, spans, strict=True)]
        totals = [max(f - w, 0) for f, w in zip(full, wanted[-len(spans) :], strict=True)]
        crops = _split(totals, less_in_front=auto == "SAME_UPPER")
    else:
        crops = _given(operator, len(spans)) if auto == "NOTSET" else [(0, 0)] * len(spans)
    return [
        (span - 1 - front, span - 1 - back + more)
        for span, (front, back), more in zip(spans, crops, extra, strict=True)
    ]


def _given(operator: Operator, rank: int) -> Pads:
    pads = tuple(operator.attribute("pads", (0,) * 2 * rank))
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _split(totals: list[int], *, less_in_front: bool) -> Pads:
    return [(n // 2, n - n // 2) if less_in_front else (n - n // 2, n // 2) for n in totals]


def _stuffed(x: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """The input with stride − 1 zeros between its pixels."""
    if all(stride == 1 for stride in strides):
        return x
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True)]
    wide = np.zeros((*x.shape[:2], *sizes), x.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
    return wide


def _padded(x: np.ndarray, pads: Pads) -> np.ndarray:
    """Zeros around the spatial axes; where pads are negative, the border is cut off."""
    if any(n < 0 for pair in pads for n in pair):
        stops = [size + min(back, 0) for size, (_, back) in zip(x.shape[2:], pads, strict=True)]
        starts = [max(-front, 0) for front, _ in pads]
        x = x[(slice(None), slice(None), *(slice(a, b) for a, b in zip(starts, stops, strict=True)))]
    around = [(max(front, 0), max(back, 0)) for front, back in pads]
    return np.pad(x, [(0, 0), (0, 0), *around]) if any(map(any, around)) else x
