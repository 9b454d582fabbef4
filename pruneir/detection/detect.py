"""From a detector's heads to what it detects: decoded, thresholded, suppressed class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneir.detection.anchors import Anchors
from pruneir.detection.boxes import decode, suppress
from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in one image, best first.

    boxes    `[n, 4]`
    scores   `[n]`
    classes  int64 `[n]`, from 0
    """

    boxes: Array
    scores: Array
    classes: Array


@dataclass(frozen=True, slots=True)
class Detector:
    """How heads are read; the numbers are those of SSD (Liu et al., ECCV 2016).

    threshold  least probability of a class
    overlap    IoU above which the weaker of two boxes of a class goes
    candidates the best boxes of a class that suppression looks at
    most       detections of an image
    """

    threshold: float = 0.01
    overlap: float = 0.45
    candidates: int = 400
    most: int = 200

    def detect(self, loc: Array, chances: Array, anchors: Anchors) -> list[Detections]:
        """What is detected in each image.

        loc      offsets `[N, A, 4]`
        chances  probabilities `[N, A, classes]`, class 0 the background
        """
        boxes = decode(loc, anchors.boxes, anchors.variances)
        return [self._image(each, chance[:, 1:]) for each, chance in zip(boxes, chances, strict=True)]

    def _image(self, boxes: Array, chances: Array) -> Detections:
        rows, classes = [], []
        for number in np.flatnonzero((chances > self.threshold).any(axis=0)):
            scores = chances[:, number]
            likely = np.flatnonzero(scores > self.threshold)
            likely = likely[np.argsort(-scores[likely], kind="stable")[: self.candidates]]
            stay = likely[suppress(boxes[likely], scores[likely], self.overlap)]
            rows.append(stay)
            classes.append(np.full(len(stay), number))
        row = np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)
        kind = np.concatenate([*classes, np.zeros(0, np.int64)]).astype(np.int64)
        scores = chances[row, kind]
        order = np.argsort(-scores, kind="stable")[: self.most]
        return Detections(boxes[row[order]], scores[order], kind[order])


def softmax(scores: Array) -> Array:
    """Probabilities `[…, classes]` of scores."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def loc_and_conf(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str]:
    """Which outputs are the heads: loc `[N, A, 4]` and conf `[N, A, classes]`.

    shapes  of the outputs by name
    PruneirError if it is not plain. With four classes, background included, the name of loc has `loc` or `box` in it.
    """
    flat = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    pairs = [
        (loc, conf)
        for loc, there in flat.items()
        for conf, here in flat.items()
        if loc != conf and there[2] == 4 and there[1] == here[1] and here[2] > 1
    ]
    if len(pairs) > 1:
        pairs = [pair for pair in pairs if any(word in pair[0].lower() for word in ("loc", "box"))]
    if len(pairs) == 1:
        return pairs[0]
    known = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    raise PruneirError(
        f"outputs {known}: a detector has one [N, anchors, 4] of offsets, named loc or box, and one [N, anchors, "
        "classes]; end the exported graph at its heads, before boxes are decoded"
    )
