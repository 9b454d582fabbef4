"""How far two detectors of the same cells or anchors agree, without labels and without suppression."""

from __future__ import annotations

from typing import Any

import numpy as np

from pruneir.detection.boxes import area, iou

Array = np.ndarray[Any, Any]


def agreement(
    scores: Array, boxes: Array, other_scores: Array, other_boxes: Array, most: int = 50, overlap: float = 0.5
) -> Array:
    """The share `[N]` of each image's best cells that are among the other detector's best, with about the same box.

    scores   `[N, A]`, of one class or the best of several; of equal ones the first is better
    boxes    `[N, A, 4]`, corners
    most     cells of an image that count
    overlap  IoU that the two boxes of a cell must exceed
    """
    best, others = _best(scores, most), _best(other_scores, most)
    same = best & others & (_overlaps(boxes, other_boxes) > overlap)
    return np.asarray(same.sum(axis=1) / best.sum(axis=1))


def met(
    scores: Array, boxes: Array, other_scores: Array, other_boxes: Array, most: int = 50, overlap: float = 0.5
) -> Array:
    """The share `[N]` of the other detector's best boxes that one of the image's best meets, of whatever cell.

    Cells side by side answer with about the same box, so that detectors whose best cells differ may yet find the same.
    Arguments as for `agreement`.
    """
    best, others = _best(scores, most), _best(other_scores, most)
    found = [
        (iou(theirs[there], ours[here]) > overlap).any(axis=1).mean()
        for ours, here, theirs, there in zip(boxes, best, other_boxes, others, strict=True)
    ]
    return np.array(found, np.float64)


def _best(scores: Array, most: int) -> Array:
    """Which cells are the best, bool `[N, A]`."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    found = np.zeros(scores.shape, bool)
    np.put_along_axis(found, order, True, axis=1)
    return found


def _overlaps(boxes: Array, others: Array) -> Array:
    """IoU `[…]` of boxes one by one; 0 where neither has an area."""
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    shared = area(np.concatenate([low, high], axis=-1))
    union = area(boxes) + area(others) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
