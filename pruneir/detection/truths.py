"""What a sample's labels say of its boxes.

Labels are `[N, most, 5]`: class, x0, y0, x1, y1, with class −1 where a sample has fewer boxes, or with a sixth column
that is 1 for a box which is set aside (VOC's difficult, COCO's crowd). Listed boxes `[M, 6]` become such labels in
`data.labels`. Classes count from 0; the network's class 0 is the background, so class k is its k + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pruneir.data.labels import by_sample
from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]

CLASS, BOX, ASIDE = 0, slice(1, 5), 5


def are_boxes(labels: Array) -> bool:
    """Whether labels, one per sample, are boxes."""
    return labels.ndim == 3 and labels.shape[2] in (5, 6)


def padded(labels: Array, count: int) -> Array:
    """Boxes of `count` samples, in either form, as float32 `[count, most, 6]`: class, box, whether it is set aside.

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
    if labels.ndim == 2 and labels.shape[1] == 6:
        labels = by_sample(labels, count)
    if are_boxes(labels) and len(labels) == count:
        if not labels.shape[1]:
            labels = np.full((count, 1, labels.shape[2]), -1, np.float32)
        aside = labels[..., 5:] if labels.shape[2] == 6 else np.zeros((*labels.shape[:2], 1), np.float32)
        return np.concatenate([labels[..., :5], aside], axis=-1)
    raise PruneirError(
        f"labels {list(labels.shape)} are no boxes of {count} samples; give [N, most, 5] with class, x0, y0, x1, y1, "
        "class −1 where there is none"
    )
