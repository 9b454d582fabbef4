"""Agreement of two detectors by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.detection.agreement import agreement, met

SQUARE = np.array([0.0, 0.0, 10.0, 10.0])
BOXES = np.array([SQUARE + 20 * i for i in range(4)])
SCORES = np.array([0.9, 0.1, 0.8, 0.7])
OTHERS = {
    "itself": (SCORES, BOXES, 1.0),
    "in another order": ([0.7, 0.2, 0.9, 0.8], BOXES, 1.0),
    "one among the best is another": ([0.9, 0.75, 0.8, 0.7], BOXES, 2 / 3),
    "all alike: the first are best": ([0.5, 0.5, 0.5, 0.5], BOXES, 2 / 3),
    "boxes overlap by a half": (SCORES, BOXES + np.array([0, 0, 10, 0]), 0.0),
    "boxes overlap by more": (SCORES, BOXES + np.array([0, 0, 9, 0]), 1.0),
    "one box is elsewhere": (SCORES, BOXES + np.array([[50], [0], [0], [0]]), 2 / 3),
    "no areas": (SCORES, BOXES * 0, 0.0),
}


@pytest.mark.parametrize(("scores", "boxes", "share"), OTHERS.values(), ids=OTHERS)
def test_the_three_best_of_four(scores: np.ndarray, boxes: np.ndarray, share: float) -> None:
    found = agreement(np.asarray(scores)[None], boxes[None], SCORES[None], BOXES[None], most=3)
    np.testing.assert_allclose(found, [share])


def test_each_image_for_itself() -> None:
    scores, boxes = np.stack([SCORES, SCORES[::-1]]), np.stack([BOXES, BOXES])
    np.testing.assert_allclose(agreement(scores, boxes, np.stack([SCORES, SCORES]), boxes, most=2), [1, 0])
    np.testing.assert_allclose(agreement(scores, boxes, scores, boxes), [1, 1])


MET = {
    "itself": (SCORES, BOXES, 1.0),
    "one among the best is another": ([0.9, 0.75, 0.8, 0.7], BOXES, 2 / 3),
    "other cells have the boxes": (SCORES[[1, 0, 3, 2]], BOXES[[1, 0, 3, 2]], 1.0),
    "one box for all": (SCORES, BOXES * 0 + SQUARE, 1 / 3),
    "boxes overlap by a half": (SCORES, BOXES + np.array([0, 0, 10, 0]), 0.0),
    "no areas": (SCORES, BOXES * 0, 0.0),
}


@pytest.mark.parametrize(("scores", "boxes", "share"), MET.values(), ids=MET)
def test_boxes_of_the_three_best_of_four_whatever_their_cells(
    scores: np.ndarray, boxes: np.ndarray, share: float
) -> None:
    found = met(np.asarray(scores)[None], boxes[None], SCORES[None], BOXES[None], most=3)
    np.testing.assert_allclose(found, [share])
