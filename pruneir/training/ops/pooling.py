"""Pools over the spatial axes: the maximum, the mean, the p-norm of a window or of the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call, op
from pruneir.training.ops.windows import Window, padded, window

_MAX: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_MEAN: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@op("GlobalAveragePool")
def global_average_pool(call: Call, x: Tensor) -> Tensor:
    """The mean over the image."""
    return x.mean(_spatial(x), keepdim=True)


@op("GlobalMaxPool")
def global_max_pool(call: Call, x: Tensor) -> Tensor:
    """The maximum over the image."""
    return x.amax(_spatial(x), keepdim=True)


@op("GlobalLpPool")
def global_lp_pool(call: Call, x: Tensor) -> Tensor:
    """(Σ|x|ᵖ)^(1/p) over the image."""
    return torch.linalg.vector_norm(x, call.attribute("p", 2), _spatial(x), keepdim=True)


@op("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """Padding never wins; the second output are flat indices into x."""
    slide, ends = _window(call, x)
    wide, crop = x if x.is_floating_point() else x.double(), (0,) * (x.dim() - 2)
    if not slide.is_even or any(ends) or any(2 * b > k for b, k in zip(slide.before, slide.kernel, strict=True)):
        wide = padded(wide, slide.before, _sum(slide.behind, ends), -torch.inf)
        crop, slide = slide.before, replace(slide, before=crop, behind=crop)
    pool = _MAX[x.dim() - 3]
    if not call.wants(1):
        return pool(wide, slide.kernel, slide.strides, slide.before, slide.dilations).to(x.dtype)
    y, flat = pool(wide, slide.kernel, slide.strides, slide.before, slide.dilations, return_indices=True)
    return y.to(x.dtype), _indices(call, flat, wide.shape, x.shape, crop)


@op("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    """The mean over what a window covers: with the padding or without, never what `ceil_mode` adds behind it."""
    slide, ends = _window(call, x)
    rank = x.dim() - 2
    count_pads = bool(call.attribute("count_include_pad", 0))
    simple = slide.is_even and not any(ends) and set(slide.dilations) == {1}
    if simple and all(2 * b <= k for b, k in zip(slide.before, slide.kernel, strict=True)):
        return _MEAN[rank - 1](x, slide.kernel, slide.strides, slide.before, False, count_pads)
    counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    counted = padded(counted, slide.before, slide.behind, float(count_pads))
    counted = padded(counted, (0,) * rank, ends)
    x = padded(x, slide.before, _sum(slide.behind, ends))
    return _sums(x, slide) / _sums(counted, slide)


@op("LpPool")
def lp_pool(call: Call, x: Tensor) -> Tensor:
    """(Σ|x|ᵖ)^(1/p) over a window."""
    slide, ends = _window(call, x)
    p = call.attribute("p", 2)
    x = padded(x, slide.before, _sum(slide.behind, ends))
    return _sums(x.abs() ** p, slide) ** (1 / p)


def _sum(a: Sequence[int], b: Sequence[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def _window(call: Call, x: Tensor) -> tuple[Window, list[int]]:
    """The window, and per axis how far `ceil_mode` lets it reach behind the padded image."""
    slide = window(call, x.shape[2:], call.attribute("kernel_shape"))
    ends = [0] * (x.dim() - 2)
    if call.attribute("ceil_mode", 0) and call.attribute("auto_pad", "NOTSET") in ("NOTSET", ""):
        for axis, (size, extent) in enumerate(zip(x.shape[2:], slide.extents, strict=True)):
            stride, before, behind = slide.strides[axis], slide.before[axis], slide.behind[axis]
            room = size + before + behind - extent
            steps = -(-room // stride)
            if steps * stride >= size + before:  # a window that starts in the padding behind is not there
                steps -= 1
            ends[axis] = max(0, steps * stride - room)
    return slide, ends


def _sums(x: Tensor, slide: Window) -> Tensor:
    """Sums over the windows of an image that is padded already."""
    for axis, (kernel, stride, dilation) in enumerate(
        zip(slide.kernel, slide.strides, slide.dilations, strict=True), start=2
    ):
        parts = x.unfold(axis, dilation * (kernel - 1) + 1, stride)
        x = parts[..., ::dilation].sum(-1)
    return x


def _indices(call: Call, flat: Tensor, wide: Sequence[int], shape: Sequence[int], crop: Sequence[int]) -> Tensor:
    """Flat indices into x, of flat indices into the padded image of one channel."""
    positions = []
    for size, before in zip(reversed(wide[2:]), reversed(crop), strict=True):
        positions.append(flat % size - before)
        flat = flat // size
    positions = positions[::-1]
    if call.attribute("storage_order", 0):
        order, sizes = positions[::-1], list(shape[2:])[::-1]
    else:
        order, sizes = positions, list(shape[2:])
    index = torch.arange(shape[0] * shape[1], device=flat.device).reshape(*shape[:2], *[1] * len(sizes))
    for position, size in zip(order, sizes, strict=True):
        index = index * size + position
    return index
