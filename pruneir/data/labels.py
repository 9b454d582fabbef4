"""Labels: one per sample, of any kind, or boxes `[M, 6]` that are listed: image index, class, x0, y0, x1, y1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pruneir.errors import PruneirError
from pruneir.graph import Graph

Array = np.ndarray[Any, Any]

_BOX = 6
"""Columns of a box."""


@dataclass(frozen=True)
class Boxes:
    """Boxes of all samples, of which some are asked for."""

    array: Array

    def of(self, rows: Array) -> Array:
        """The boxes of the samples with these indices, `[n, 6]`; column 0 becomes the position in `rows`."""
        order, images = self._sorted
        first, last = np.searchsorted(images, rows, "left"), np.searchsorted(images, rows, "right")
        found = self.array[np.concatenate([order[:0], *(order[a:b] for a, b in zip(first, last, strict=True))])]
        found[:, 0] = np.repeat(np.arange(len(rows)), last - first)
        return np.asarray(found)

    @cached_property
    def _sorted(self) -> tuple[Array, Array]:
        order = np.argsort(self.array[:, 0], kind="stable")
        return order, self.array[order, 0]


def moved(boxes: Array, start: int) -> Array:
    """Boxes of samples that now stand so many places further on."""
    found = boxes.copy()
    found[:, 0] += start
    return found


def by_sample(boxes: Array, count: int) -> Array:
    """Listed boxes as those of `count` samples, `[count, most, 5]`: class, box; class −1 where there is none."""
    images = boxes[:, 0].astype(np.int64)
    here = np.flatnonzero((images >= 0) & (images < count))
    here = here[np.argsort(images[here], kind="stable")]
    counts = np.bincount(images[here], minlength=count)
    found = np.zeros((count, max(counts.max(initial=0), 1), _BOX - 1), np.float32)
    found[..., 0] = -1
    place = np.arange(len(here)) - np.repeat(np.cumsum(counts) - counts, counts)
    found[images[here], place] = boxes[here, 1:]
    return found


def are_listed(labels: Array, count: int, classes: int | None) -> bool:
    """Whether labels are listed boxes: six columns, which one per sample would have if there are six scores only."""
    return labels.ndim == 2 and labels.shape[1] == _BOX and not (len(labels) == count and classes == _BOX)


def classes_of(graph: Graph) -> int | None:
    """The classes that a classifier tells apart: its only output is [N, classes]. None if it is none, or unknown."""
    kind = graph.type_of(graph.outputs[0]) if len(graph.outputs) == 1 else None
    shape = kind.shape if kind is not None else None
    if not shape or len(shape) < 2 or any(size != 1 for size in shape[2:]):
        return None
    return shape[1] if isinstance(shape[1], int) and shape[1] > 1 else None


def require_classes(labels: Array, first: int, classes: int | None, name: str, source: str) -> None:
    """PruneirError for a label that is no class of the network.

    first   index of the first label's sample in the whole
    """
    if classes is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise PruneirError(
            f"{source}: label {labels[bad[0]]} in '{name}', at sample {first + bad[0]}, is no class of the network, "
            f"which has {classes}; give labels from 0 to {classes - 1}"
        )
