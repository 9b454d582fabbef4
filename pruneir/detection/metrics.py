"""Average precision, image by image: how much of what is there a detector finds, and how much else.

Detections of a class are gone through from the best score down. Each is right if it meets a truth of its class that no
better one has met; a box set aside (VOC: difficult; COCO: crowd) is none that has to be found, and what meets it counts
neither way. Average precision is the area under precision over recall, mean AP the mean over classes that have truths.

VOC07  IoU ≥ 0.5, mean of the precision at recalls 0, 0.1 … 1 (Everingham et al., IJCV 2010)
VOC    IoU ≥ 0.5, the whole area (VOC 2010 and later)
COCO   IoU ≥ 0.50, 0.55 … 0.95, recalls 0, 0.01 … 1, the 100 best of a class in an image (Lin et al., ECCV 2014)

Boxes are of real numbers: VOC's own program takes pixels inclusively, so that its boxes are a pixel wider.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pruneir.detection.boxes import area, intersection, iou
from pruneir.detection.detect import Detections
from pruneir.detection.truths import ASIDE, BOX, CLASS

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """What counts as found, and how the curve becomes a number.

    thresholds  of IoU; average precision is the mean over them
    matching    (IoU `[n, m]`, set aside `[m]`, thresholds) → right `[thresholds, n]` and counted neither way, likewise;
                detections best first
    overlaps    (detections `[n, 4]`, truths `[m, 4]`, set aside `[m]`) → `[n, m]`
    averaging   (recall, precision), both `[n]` and along the detections, → average precision
    most        detections of a class in an image that are looked at
    """

    name: str
    thresholds: tuple[float, ...]
    matching: Callable[[Array, Array, Array], tuple[Array, Array]]
    overlaps: Callable[[Array, Array, Array], Array]
    averaging: Callable[[Array, Array], float]
    most: int | None = None


@dataclass(slots=True)
class MeanPrecision:
    """Mean average precision that is being counted."""

    rule: Rule
    images: int = 0
    _there: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    _found: dict[int, list[tuple[Array, Array, Array]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, found: Detections, truths: Array) -> None:
        """Count an image.

        truths  `[m, 6]`: class, box, whether it is set aside; those of class −1 are none
        """
        self.images += 1
        truths = truths[truths[:, CLASS] >= 0]
        kinds = truths[:, CLASS].astype(np.int64)
        order = np.argsort(-found.scores, kind="stable")
        thresholds = np.array(self.rule.thresholds)
        for number in np.union1d(kinds, found.classes).tolist():
            own = truths[kinds == number]
            aside = own[:, ASIDE] > 0
            self._there[number] += int((~aside).sum())
            chosen = order[found.classes[order] == number][: self.rule.most]
            if len(chosen):
                overlaps = self.rule.overlaps(found.boxes[chosen], own[:, BOX].astype(np.float64), aside)
                self._found[number].append((found.scores[chosen], *self.rule.matching(overlaps, aside, thresholds)))

    @property
    def by_class(self) -> dict[int, float]:
        """Average precision 0–1 of every class that has truths."""
        return {number: self._average(number) for number, count in sorted(self._there.items()) if count}

    @property
    def points(self) -> float:
        """The mean over classes, of 100; 0 without a truth."""
        return 100 * float(np.mean(list(self.by_class.values()))) if any(self._there.values()) else 0.0

    def _average(self, number: int) -> float:
        if number not in self._found:
            return 0.0
        scores = np.concatenate([part[0] for part in self._found[number]])
        order = np.argsort(-scores, kind="stable")
        right = np.concatenate([part[1] for part in self._found[number]], axis=1)[:, order]
        neither = np.concatenate([part[2] for part in self._found[number]], axis=1)[:, order]
        averages = []
        for hits, skipped in zip(right, neither, strict=True):
            counted = hits[~skipped]
            hit = np.cumsum(counted)
            averages.append(
                self.rule.averaging(hit / self._there[number], hit / np.arange(1, len(counted) + 1)) if len(hit) else 0
            )
        return float(np.mean(averages))


def _voc(overlaps: Array, aside: Array, thresholds: Array) -> tuple[Array, Array]:
    """A detection is of the truth that it overlaps most, even if that one is taken."""
    right = np.zeros((len(thresholds), len(overlaps)), bool)
    neither = np.zeros_like(right)
    if not overlaps.shape[1]:
        return right, neither
    nearest, best = overlaps.argmax(axis=1), overlaps.max(axis=1)
    for row, threshold in enumerate(thresholds):
        meets = best >= threshold
        neither[row] = meets & aside[nearest]
        wanted = np.flatnonzero(meets & ~aside[nearest])
        right[row, wanted[np.unique(nearest[wanted], return_index=True)[1]]] = True
    return right, neither


def _coco(overlaps: Array, aside: Array, thresholds: Array) -> tuple[Array, Array]:
    """A detection is of the free truth that it overlaps most; else of one set aside, which is never taken."""
    right = np.zeros((len(thresholds), len(overlaps)), bool)
    neither = np.zeros_like(right)
    taken = np.zeros((len(thresholds), len(aside)), bool)
    lowest = np.minimum(thresholds, 1 - 1e-10)[:, None]
    for column, row in enumerate(overlaps if overlaps.shape[1] else ()):
        fits = np.where((row >= lowest) & ~taken & ~aside, row, -1.0)
        last = fits.shape[1] - 1 - fits[:, ::-1].argmax(axis=1)  # of equal ones the last, as in COCO's program
        right[:, column] = hit = fits.max(axis=1) >= 0
        taken[hit, last[hit]] = True
        neither[:, column] = ~hit & ((row >= lowest) & aside).any(axis=1)
    return right, neither


def _with_crowds(boxes: Array, truths: Array, aside: Array) -> Array:
    """IoU; with a crowd the share of the detection that is in it."""
    found = iou(boxes, truths)
    own = np.maximum(area(boxes), np.finfo(float).tiny)
    found[:, aside] = intersection(boxes, truths[aside]) / own[:, None]
    return found


def _envelope(precision: Array) -> Array:
    """The best precision at a recall or beyond."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def _at(recalls: Array) -> Callable[[Array, Array], float]:
    """The mean precision at some recalls; 0 at those that are not reached."""

    def average(recall: Array, precision: Array) -> float:
        first = np.searchsorted(recall, recalls, side="left")
        return float(np.append(_envelope(precision), 0.0)[first].mean())

    return average


def _whole(recall: Array, precision: Array) -> float:
    return float((np.diff(recall, prepend=0.0) * _envelope(precision)).sum())


def _plain(boxes: Array, truths: Array, aside: Array) -> Array:
    return iou(boxes, truths)


VOC07 = Rule("VOC 2007", (0.5,), _voc, _plain, _at(np.arange(11) / 10))
VOC = Rule("VOC", (0.5,), _voc, _plain, _whole)
COCO = Rule(
    "COCO", tuple(np.linspace(0.5, 0.95, 10).tolist()), _coco, _with_crowds, _at(np.linspace(0, 1, 101)), most=100
)
