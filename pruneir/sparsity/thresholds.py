"""Which weights are large enough to stay: by a threshold, by a share, by a pattern."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import floor

import numpy as np

from pruneir.errors import PruneirError
from pruneir.sparsity.weights import Weight

_LONGEST = 65536
"""Weights in the groups of a pattern."""


def by_quality(weight: Weight, quality: float) -> np.ndarray:
    """True where |w| ≥ q·σ (Han et al., NIPS 2015); the largest entry stays in any case.

    σ is the standard deviation of the entries that are not zero: of a layer's weights, whatever was cut before.
    """
    scaled = _scaled(weight)
    return np.asarray(scaled >= min(quality, float(scaled.max())))


def common_quality(given: Sequence[Weight], count: int) -> float:
    """The q at which `count` entries of all weights together are below their threshold; fewer only where some tie."""
    scaled = np.concatenate([_scaled(weight).reshape(-1) for weight in given])
    return float(np.partition(scaled, count)[count]) if count < len(scaled) else float(scaled.max())


def largest(weight: Weight, share: float) -> np.ndarray:
    """False for this share of the entries, those of the smallest magnitude; zeros go first, and one entry stays."""
    flat = _magnitudes(weight).reshape(-1)
    mask = np.ones(flat.size, bool)
    mask[np.argsort(flat, kind="stable")[: min(floor(share * flat.size + 1e-9), flat.size - 1)]] = False
    return mask.reshape(weight.array.shape)


def of_pattern(weight: Weight, few: int, of: int) -> np.ndarray:
    """True for the `few` largest of every `of` entries that follow on the input axis, each tap of a kernel for itself.

    Of a rest that is shorter, as many at most stay.
    """
    rows = np.moveaxis(_magnitudes(weight), weight.input_axis, -1)
    length = rows.shape[-1]
    wide = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -length % of)], constant_values=-1.0)
    groups = wide.reshape(*rows.shape[:-1], -1, of)
    order = np.argsort(-groups, axis=-1, kind="stable")
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, order[..., :few], True, axis=-1)
    return np.moveaxis(mask.reshape(wide.shape)[..., :length], -1, weight.input_axis)


def pattern_of(text: str) -> tuple[int, int]:
    """The two numbers of a pattern such as "2:4". PruneirError if it is none."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    few, of = map(int, found.groups()) if found else (0, 0)
    if not 0 < few < of <= _LONGEST:
        raise PruneirError(
            f"pattern '{text}' is not N:M with N of M weights to keep, such as 2:4, M at most {_LONGEST:,}"
        )
    return few, of


def _scaled(weight: Weight) -> np.ndarray:
    """|w| / σ; where all entries are alike, so that σ is 0, the ones that are not zero are infinite."""
    sizes = _magnitudes(weight)
    there = weight.array[weight.array != 0].astype(np.float64)
    spread = float(there.std()) if there.size else 0.0
    return np.asarray(sizes / spread if spread > 0 else np.where(sizes > 0, np.inf, 0.0))


def _magnitudes(weight: Weight) -> np.ndarray:
    """|w|, in double precision where the weight is, else in single."""
    return np.asarray(np.abs(weight.array.astype(np.float64 if weight.array.dtype == np.float64 else np.float32)))
