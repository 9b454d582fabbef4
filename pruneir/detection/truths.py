"""What a sample's labels say of its boxes.

Labels are `[N, most, 5]`: class, x0, y0, x1, y1, with class −1 where a sample has fewer boxes, or with a sixth column
that is 1 for a box which is set aside (VOC's difficult, COCO's crowd). Or they are boxes `[M, 6]` of all samples: image
index, class, x0, y0, x1, y1. Classes count from 0; the network's class 0 is the background, so class k is its k + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]

CLASS, BOX, ASIDE = 0, slice(1, 5), 5


def is_list(labels: Array) -> bool:
    """Whether labels look like boxes `[M, 6]` that name their samples."""
    return labels.ndim == 2 and labels.shape[1] == 6


def are_boxes(labels: Array, count: int) -> bool:
    """Whether labels look like boxes of so many samples, in either form."""
    return is_list(labels) or (labels.ndim == 3 and len(labels) == count and labels.shape[2] in (5, 6))


def padded(labels: Array, count: int) -> Array:
    """Labels of `count` samples as float32 `[count, most, 6]`: class, box, whether it is set aside.

    PruneirError for labels of another form, and for a box without an area.
    """
    found = _padded(np.asarray(labels, np.float32), count)
    known = found[..., CLASS] >= 0
    flat = (found[..., 3:5] <= found[..., 1:3]).any(axis=-1) & known
    if flat.any():
        sample, number = np.argwhere(flat)[0]
        box = ", ".join(f"{value:g}" for value in found[sample, number, BOX])
        raise PruneirError(f"labels: the box {box} has no area; boxes are x0, y0, x1, y1 with x1 > x0 and y1 > y0")
    return found


def _padded(labels: Array, count: int) -> Array:
    if labels.ndim == 3 and len(labels) == count and labels.shape[2] in (5, 6):
        aside = labels[..., 5:] if labels.shape[2] == 6 else np.zeros((*labels.shape[:2], 1), np.float32)
        return np.concatenate([labels[..., :5], aside], axis=-1)
    if is_list(labels):
        images = labels[:, 0].astype(np.int64)
        here = np.flatnonzero((images >= 0) & (images < count))
        here = here[np.argsort(images[here], kind="stable")]
        counts = np.bincount(images[here], minlength=count)
        found = np.zeros((count, max(counts.max(initial=0), 1), 6), np.float32)
        found[..., CLASS] = -1
        place = np.arange(len(here)) - np.repeat(np.cumsum(counts) - counts, counts)
        found[images[here], place, :5] = labels[here, 1:]
        return found
    raise PruneirError(
        f"labels {list(labels.shape)} are no boxes of {count} samples; give [N, most, 5] with class, x0, y0, x1, y1, "
        "class −1 where there is none"
    )
