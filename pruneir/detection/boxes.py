"""Boxes `[…, 4]` as [x0, y0, x1, y1], x1 > x0 and y1 > y0, in any unit: areas, overlaps, suppression, SSD's offsets.

SSD (Liu et al., ECCV 2016) has a head tell a box by its offset from an anchor, both as centre and size, divided by
variances v, 0.1 for centres and 0.2 for sizes:

    ((cx − cx₀) / w₀ / v, (cy − cy₀) / h₀ / v, log(w / w₀) / v, log(h / h₀) / v)
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

VARIANCES = (0.1, 0.1, 0.2, 0.2)
_LARGEST = 50.0
"""Of a logarithm of sizes: what an untrained head may say, without overflow of an area."""


def area(boxes: Array) -> Array:
    """Areas `[…]`; 0 for a box that is turned inside out."""
    return np.asarray(np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1))


def intersection(boxes: Array, others: Array) -> Array:
    """Areas `[n, m]` that each of `[n, 4]` shares with each of `[m, 4]`."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.prod(np.maximum(high - low, 0), axis=-1))


def iou(boxes: Array, others: Array) -> Array:
    """Intersection over union `[n, m]` of each of `[n, 4]` with each of `[m, 4]`; 0 where neither has an area."""
    shared = intersection(boxes, others)
    union = area(boxes)[:, None] + area(others)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def centred(boxes: Array) -> Array:
    """The same boxes as [cx, cy, w, h]."""
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], axis=-1)


def cornered(boxes: Array) -> Array:
    """Boxes [cx, cy, w, h] as [x0, y0, x1, y1]."""
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1)


def encode(boxes: Array, anchors: Array, variances: Array | tuple[float, ...] = VARIANCES) -> Array:
    """SSD's offsets `[…, 4]` of boxes from anchors `[…, 4]`, both with corners.

    variances  `[4]`, or `[A, 4]`, one row an anchor
    """
    there, here = centred(boxes), centred(anchors)
    offsets = [(there[..., :2] - here[..., :2]) / here[..., 2:], np.log(there[..., 2:] / here[..., 2:])]
    return np.asarray(np.concatenate(offsets, axis=-1) / np.asarray(variances))


def decode(offsets: Array, anchors: Array, variances: Array | tuple[float, ...] = VARIANCES) -> Array:
    """The boxes, float64 with corners, that offsets `[…, A, 4]` from anchors `[A, 4]` tell: what `encode` takes."""
    scaled, here = offsets.astype(np.float64) * np.asarray(variances), centred(anchors)
    sizes = here[..., 2:] * np.exp(np.minimum(scaled[..., 2:], _LARGEST))
    return cornered(np.concatenate([here[..., :2] + scaled[..., :2] * here[..., 2:], sizes], axis=-1))


def suppress(boxes: Array, scores: Array, threshold: float, most: int | None = None) -> Array:
    """Non-maximum suppression: indices of the boxes that stay, best first.

    A box stays unless its IoU with a better one that stays is above the threshold; of equal scores the first is better.

    boxes   `[n, 4]`
    scores  `[n]`
    most    how many may stay
    """
    order = np.argsort(-scores, kind="stable")
    beats = np.triu(iou(boxes[order], boxes[order]) > threshold, 1)
    keep: Array = np.ones(len(order), bool)
    while True:  # each turn settles at least one more box, the best of those that are not settled
        settled = np.logical_not((beats & keep[:, None]).any(axis=0))
        if np.array_equal(settled, keep):
            return np.asarray(order[keep][:most])
        keep = settled
