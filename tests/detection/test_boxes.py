"""Overlaps, SSD's offsets and suppression, against pictures one can count and plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pruneir.detection.boxes import VARIANCES, centred, cornered, decode, encode, iou, suppress

Array = np.ndarray[Any, Any]

OVERLAPS = {
    "the same": ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
    "half of one": ([0, 0, 2, 2], [0, 0, 1, 2], 0.5),
    "a quarter each": ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
    "inside": ([0, 0, 4, 4], [1, 1, 3, 3], 0.25),
    "side by side": ([0, 0, 2, 2], [2, 0, 4, 2], 0.0),
    "apart": ([0, 0, 1, 1], [5, 5, 6, 6], 0.0),
    "no area": ([1, 1, 1, 1], [1, 1, 1, 1], 0.0),
}


def some(count: int, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 80, (count, 2))
    return np.concatenate([low, low + random.uniform(4, 30, (count, 2))], axis=1)


@pytest.mark.parametrize(("first", "second", "expected"), OVERLAPS.values(), ids=OVERLAPS)
def test_iou(first: list[float], second: list[float], expected: float) -> None:
    a, b = np.array([first], float), np.array([second], float)
    assert iou(a, b)[0, 0] == pytest.approx(expected)
    assert iou(b, a)[0, 0] == pytest.approx(expected)


def test_centres_and_corners_are_the_same_boxes() -> None:
    assert centred(np.array([2.0, 4.0, 6.0, 10.0])).tolist() == [4, 7, 4, 6]
    np.testing.assert_allclose(cornered(centred(some(9))), some(9), rtol=1e-12)


def test_encoding_by_hand() -> None:
    anchor, box = np.array([[0.0, 0.0, 10.0, 20.0]]), np.array([[1.0, 2.0, 21.0, 22.0]])  # centres (5, 10), (11, 12)
    expected = [6 / 10 / 0.1, 2 / 20 / 0.1, np.log(20 / 10) / 0.2, 0.0]
    np.testing.assert_allclose(encode(box, anchor)[0], expected)


@pytest.mark.parametrize("variances", [VARIANCES, np.full((12, 4), 0.5)], ids=["SSD's", "one row an anchor"])
def test_decoding_is_the_way_back(variances: Any) -> None:
    boxes, anchors = some(12), some(12, seed=1)
    np.testing.assert_allclose(decode(encode(boxes, anchors, variances), anchors, variances), boxes, rtol=1e-9)


def test_decoding_stays_finite() -> None:
    assert np.isfinite(decode(np.full((1, 1, 4), 1e4, np.float32), np.array([[0.0, 0.0, 1.0, 1.0]]))).all()


def greedy(boxes: Array, scores: Array, threshold: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[[index]], boxes[[other]])[0, 0] <= threshold for other in kept):
            kept.append(index)
    return kept


CHAIN = np.array([[x, 0, x + 10, 10] for x in range(0, 60, 3)], float)
SUPPRESSED = {
    "a chain, in which the suppressed suppress nothing": (CHAIN, -np.arange(20.0), 0.45),
    "a chain from the other end": (CHAIN, np.arange(20.0), 0.45),
    "equal scores": (CHAIN, np.zeros(20), 0.3),
    "none": (np.zeros((0, 4)), np.zeros(0), 0.5),
    **{
        f"by chance {seed}": (some(60, seed), np.random.default_rng(seed).random(60), seed / 10) for seed in range(1, 8)
    },
}


@pytest.mark.parametrize(("boxes", "scores", "threshold"), SUPPRESSED.values(), ids=SUPPRESSED)
def test_suppression_is_the_greedy_one(boxes: Array, scores: Array, threshold: float) -> None:
    expected = greedy(boxes, scores, threshold)
    assert suppress(boxes, scores, threshold).tolist() == expected
    assert suppress(boxes, scores, threshold, most=3).tolist() == expected[:3]
