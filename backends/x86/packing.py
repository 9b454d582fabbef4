"""Weights as the kernels of dense convolutions and of dense layers read them: in panels of filters."""

from __future__ import annotations

import numpy as np


def packed(weights: np.ndarray, vectors: int, lanes: int, groups: int = 1) -> np.ndarray:
    """Panels of `vectors · lanes` filters, each one block of memory.

    weights  float32 [OC, IC, KH, KW], or a matrix [K, N] of a dense layer, whose columns are the filters
    groups   of filters that have panels of their own
    gives    float32 [groups · panels, KH, KW, IC, vectors · lanes], 0 behind the last filter of each group
    """
    if groups > 1:
        return np.concatenate([packed(each, vectors, lanes) for each in np.split(weights, groups)])
    taps = weights.transpose(2, 3, 1, 0) if weights.ndim == 4 else weights[None, None]
    width = vectors * lanes
    padding = -taps.shape[-1] % width
    taps = np.pad(taps, [(0, 0)] * 3 + [(0, padding)])
    panels = taps.reshape(*taps.shape[:3], -1, width).transpose(3, 0, 1, 2, 4)
    return np.ascontiguousarray(panels, dtype=np.float32)
