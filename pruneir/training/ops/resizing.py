"""Sampling images at other points: Resize and Upsample axis by axis, and GridSample.

Interpolation is linear in the image, so a resize is a product with a small matrix per axis: a row per output position,
with the weights of the input positions that it is made of. That covers every coordinate mode, antialiasing and the
axes that are left alone, and its gradient is exact. Nearest neighbours are gathered, and what torch has is torch's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call, ints, op

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}
_TORCH = {"half_pixel": False, "align_corners": True}
"""Coordinates that torch has, and whether they align corners."""


@dataclass(frozen=True, slots=True)
class _Sampling:
    """Where an output position lies in the input, and how the values around it are weighed."""

    mode: str
    coordinates: str
    rounding: str
    a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    fill: float = 0.0


@op("Upsample", spread=True)
def upsample(call: Call, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Coordinates are divided by the scale, and rounded down."""
    given = scales.tolist() if scales is not None else list(call.attribute("scales", ()))
    if not given:
        given = [1.0, 1.0, call.attribute("height_scale"), call.attribute("width_scale")]
    sizes = [math.floor(size * scale) for size, scale in zip(x.shape, given, strict=True)]
    mode = call.attribute("mode", "nearest")
    how = _Sampling("linear" if mode == "bilinear" else mode, "asymmetric", "floor")
    return _resized(x, list(range(x.dim())), sizes, given, how, [])


@op("Resize", spread=True)
def resize(
    call: Call, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    """To scales or to sizes, of all axes or of some; `keep_aspect_ratio_policy` makes one scale of them."""
    if call.opset < 11:
        return upsample(call, x, roi)
    axes = [axis % x.dim() for axis in call.attribute("axes", range(x.dim()))]
    lengths = [x.shape[axis] for axis in axes]
    if sizes is not None and sizes.numel():
        wanted = ints(sizes)
        factors = [new / old for new, old in zip(wanted, lengths, strict=True)]
        policy = call.attribute("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            one = min(factors) if policy == "not_larger" else max(factors)
            factors = [one] * len(axes)
            wanted = [math.floor(one * old + 0.5) for old in lengths]
    else:
        assert scales is not None
        factors = [float(scale) for scale in scales.tolist()]
        wanted = [math.floor(old * scale) for old, scale in zip(lengths, factors, strict=True)]
    how = _Sampling(
        call.attribute("mode", "nearest"),
        call.attribute("coordinate_transformation_mode", "half_pixel"),
        call.attribute("nearest_mode", "round_prefer_floor"),
        call.attribute("cubic_coeff_a", -0.75),
        bool(call.attribute("exclude_outside", 0)),
        bool(call.attribute("antialias", 0)),
        call.attribute("extrapolation_value", 0.0),
    )
    return _resized(x, axes, wanted, factors, how, roi.tolist() if roi is not None else [])


@op("GridSample")
def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    """At points in −1 … 1."""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call.attribute("mode", "linear"), call.attribute("mode"))
    padding = call.attribute("padding_mode", "zeros")
    return F.grid_sample(x, grid, mode or "bilinear", padding, bool(call.attribute("align_corners", 0)))


def _resized(
    x: Tensor, axes: list[int], sizes: list[int], factors: Sequence[float], how: _Sampling, roi: Sequence[float]
) -> Tensor:
    exact = all(size == x.shape[axis] * factor for axis, size, factor in zip(axes, sizes, factors, strict=True))
    spatial = all(axis > 1 or size == x.shape[axis] for axis, size in zip(axes, sizes, strict=True))
    plain = how.mode == "linear" and not how.antialias and how.coordinates in _TORCH
    if plain and exact and spatial and x.dim() in _LINEAR and x.is_floating_point():
        target = list(x.shape)
        for axis, size in zip(axes, sizes, strict=True):
            target[axis] = size
        return F.interpolate(x, target[2:], mode=_LINEAR[x.dim()], align_corners=_TORCH[how.coordinates])
    cropping = how.coordinates == "tf_crop_and_resize"
    for index, (axis, size, factor) in enumerate(zip(axes, sizes, factors, strict=True)):
        region = (roi[index], roi[index + len(axes)]) if cropping else (0.0, 1.0)
        if size == x.shape[axis] and factor == 1 and region == (0.0, 1.0):
            continue
        x = _along(x, axis, size, factor, how, region)
    return x


def _along(x: Tensor, axis: int, size: int, factor: float, how: _Sampling, region: tuple[float, float]) -> Tensor:
    """One axis at another length."""
    length = x.shape[axis]
    if how.mode == "nearest":
        where = torch.from_numpy(_nearest(length, size, factor, how, region)).to(x.device)
        y = x.index_select(axis, where)
    else:
        weights = torch.from_numpy(_matrix(length, size, factor, how, region)).to(x.device, x.dtype)
        y = torch.matmul(x.movedim(axis, -1), weights.T).movedim(-1, axis)
    if how.coordinates == "tf_crop_and_resize":
        at = _coordinates(length, size, factor, how, region)
        outside = torch.from_numpy((at < 0) | (at > length - 1)).to(x.device)
        shape = [1] * x.dim()
        shape[axis] = size
        y = y.masked_fill(outside.reshape(shape), how.fill)
    return y


def _coordinates(length: int, size: int, factor: float, how: _Sampling, region: tuple[float, float]) -> np.ndarray:
    """Where the output positions lie in the input."""
    at, exact = np.arange(size, dtype=np.float64), factor * length
    match how.coordinates:
        case "asymmetric":
            return at / factor
        case "align_corners":
            return at * (length - 1) / (exact - 1) if size > 1 else np.zeros(size)
        case "tf_crop_and_resize":
            start, end = region
            if size == 1:
                return np.full(size, (start + end) * (length - 1) / 2)
            return start * (length - 1) + at * (end - start) * (length - 1) / (size - 1)
        case "pytorch_half_pixel" if size == 1:
            return np.zeros(size)
        case "tf_half_pixel_for_nn":
            return (at + 0.5) / factor
        case "half_pixel_symmetric":
            return length / 2 * (1 - size / exact) + (at + 0.5) / factor - 0.5
    return (at + 0.5) / factor - 0.5


@lru_cache(maxsize=256)
def _nearest(length: int, size: int, factor: float, how: _Sampling, region: tuple[float, float]) -> np.ndarray:
    at = _coordinates(length, size, factor, how, region)
    rounded = {
        "floor": np.floor(at),
        "ceil": np.ceil(at),
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
    }[how.rounding]
    return np.asarray(rounded.clip(0, length - 1), np.int64)


@lru_cache(maxsize=256)
def _matrix(length: int, size: int, factor: float, how: _Sampling, region: tuple[float, float]) -> np.ndarray:
    """Weights [size, length]: of the input positions for each output position."""
    at = _coordinates(length, size, factor, how, region)
    squeeze = min(factor, 1.0) if how.antialias else 1.0
    reach = math.ceil((2 if how.mode == "cubic" else 1) / squeeze)
    near = np.floor(at)[:, None] + np.arange(1 - reach, reach + 1)
    distance = np.abs(near - at[:, None]) * squeeze
    weights = _cubic(distance, how.a) if how.mode == "cubic" else np.clip(1 - distance, 0, None)
    if how.exclude_outside or how.antialias:
        if how.exclude_outside:
            weights = np.where((near < 0) | (near >= length), 0, weights)
        weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((size, length))
    rows = np.broadcast_to(np.arange(size)[:, None], near.shape)
    np.add.at(matrix, (rows, near.clip(0, length - 1).astype(np.int64)), weights)
    return matrix


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """The convolution kernel of Keys (1981) at distances x."""
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0))
