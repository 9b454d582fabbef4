"""Weights as dense micro-kernels read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Packing:
    """How a weight is laid out for the micro-kernel: one stream, as it reads.

    outer    loops around the nest that the weight depends on: length, and stride in the weight as it was
    inner    loops over the terms, likewise
    tile     filters of a tile, the innermost loop, which may reach beyond the last filter
    filter_stride  of these in the weight
    size     elements of the weight
    """

    outer: tuple[tuple[int, int], ...]
    inner: tuple[tuple[int, int], ...]
    tile: int
    filter_stride: int
    size: int

    def pack(self, weights: np.ndarray) -> np.ndarray:
        """The weights in the order in which they are read; zeros where a tile reaches beyond the last filter."""
        flat = np.concatenate([weights.ravel(), np.zeros(1, weights.dtype)])
        index = np.zeros(1, np.int64)
        for length, stride in (*self.outer, *self.inner, (self.tile, self.filter_stride)):
            index = (index[:, None] + np.arange(length) * stride).ravel()
        return flat[np.where(index < self.size, index, self.size)]
