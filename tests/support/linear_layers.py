"""Linear layers as axes of their inputs, and what they compute, by the definition of a convolution."""

from __future__ import annotations

from itertools import product

import numpy as np

from pruneir.backends.cortex_m.inputs import Axis, Layer


def axis(
    length: int, taps: int = 1, apart: int = 1, stride: int = 0, pads: tuple[int, int] = (0, 0), step: int = 1
) -> Axis:
    """One of points, padded in front and behind."""
    points = (length + sum(pads) - (taps - 1) * apart - 1) // step + 1
    return Axis(length, taps, apart, stride, pads[0], points, step)


def channels(length: int, stride: int) -> Axis:
    return Axis(length, length, 1, stride, 0, 0)


def outputs(layer: Layer, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`[points …, filters]` in float64, by the definition of a convolution: zeros around, tap by tap."""
    ends = [(a.before, a.step * a.points + a.taps * a.apart) if a.points else (0, 0) for a in layer.axes]
    around = np.pad(x.reshape([a.length for a in layer.axes]).astype(np.float64), ends)
    found = np.zeros((*(a.points for a in layer.axes if a.points), layer.filters[0]))
    for taps in product(*(range(a.taps) for a in layer.axes)):
        seen: list[slice | int] = []
        for tap, a in zip(taps, layer.axes, strict=True):
            first = tap * a.apart
            seen.append(slice(first, first + a.points * a.step, a.step) if a.points else first - a.before)
        place = sum(tap * a.stride for tap, a in zip(taps, layer.axes, strict=True))
        inside = all(isinstance(at, slice) or 0 <= at < a.length for at, a in zip(seen, layer.axes, strict=True))
        if inside:
            found += around[tuple(seen)][..., None] * weights[place + np.arange(layer.filters[0]) * layer.filters[1]]
    return found


def size_of(layer: Layer) -> int:
    """How many weights there are."""
    return int(1 + sum((a.taps - 1) * a.stride for a in layer.axes) + (layer.filters[0] - 1) * layer.filters[1])
