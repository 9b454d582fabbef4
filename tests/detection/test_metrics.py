"""Average precision: COCO's against pycocotools, VOC's against small cases by hand and a plain reading of the rule."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from pruneir.detection.boxes import iou
from pruneir.detection.detect import Detections
from pruneir.detection.metrics import COCO, VOC, VOC07, MeanPrecision, Rule
from pruneir.detection.truths import padded
from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]
Image = tuple[Detections, Array]


def image(found: list[list[float]], truths: list[list[float]]) -> Image:
    """Detections as score, class, box; truths as class, box, set aside."""
    rows = np.array(found, float).reshape(-1, 6)
    return Detections(rows[:, 2:], rows[:, 0], rows[:, 1].astype(np.int64)), np.array(truths, float).reshape(-1, 6)


def points(images: list[Image], rule: Rule) -> MeanPrecision:
    counted = MeanPrecision(rule)
    for one in images:
        counted.add(*one)
    return counted


A, B, C, OFF = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 60, 70, 70]
NEAR = [0, 0, 10, 8]  # IoU 0.8 with A

# name: (images, AP by VOC 2007, by VOC); class 0 alone
BY_HAND: dict[str, tuple[list[Image], float, float]] = {
    "all found": ([image([[0.9, 0, *A], [0.8, 0, *B]], [[0, *A, 0], [0, *B, 0]])], 1.0, 1.0),
    "half found": ([image([[0.9, 0, *A]], [[0, *A, 0], [0, *B, 0]])], 6 / 11, 0.5),
    "nothing found": ([image([], [[0, *A, 0]])], 0.0, 0.0),
    "a false one first": ([image([[0.9, 0, *OFF], [0.8, 0, *A]], [[0, *A, 0]])], 0.5, 0.5),
    "a false one last": ([image([[0.9, 0, *A], [0.8, 0, *OFF]], [[0, *A, 0]])], 1.0, 1.0),
    # precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: six recalls at 1, five at 2/3
    "a false one between": (
        [image([[0.9, 0, *A], [0.8, 0, *OFF], [0.7, 0, *B]], [[0, *A, 0], [0, *B, 0]])],
        (6 + 5 * 2 / 3) / 11,
        0.5 + 0.5 * 2 / 3,
    ),
    "found twice": (
        [image([[0.9, 0, *A], [0.8, 0, *NEAR], [0.7, 0, *B]], [[0, *A, 0], [0, *B, 0]])],
        (6 + 5 * 2 / 3) / 11,
        0.5 + 0.5 * 2 / 3,
    ),
    "a difficult one counts neither way": ([image([[0.9, 0, *B], [0.8, 0, *A]], [[0, *A, 0], [0, *B, 1]])], 1.0, 1.0),
    "a difficult one need not be found": ([image([[0.8, 0, *A]], [[0, *A, 0], [0, *C, 1]])], 1.0, 1.0),
    "another image's truth": ([image([[0.9, 0, *A]], []), image([], [[0, *A, 0]])], 0.0, 0.0),
    "scores across images": (
        [image([[0.5, 0, *A]], [[0, *A, 0]]), image([[0.9, 0, *OFF]], [[0, *B, 0]])],
        6 / 11 * 0.5,
        0.25,
    ),
}


@pytest.mark.parametrize(("images", "old", "new"), BY_HAND.values(), ids=BY_HAND)
def test_voc_by_hand(images: list[Image], old: float, new: float) -> None:
    assert points(images, VOC07).by_class == {0: pytest.approx(old)}
    assert points(images, VOC).by_class == {0: pytest.approx(new)}


def test_the_mean_is_over_classes_that_have_truths() -> None:
    images = [image([[0.9, 0, *A], [0.9, 2, *B]], [[0, *A, 0], [1, *B, 0], [3, *C, 1]])]
    for rule in (VOC07, VOC, COCO):
        assert points(images, rule).by_class == {0: 1.0, 1: 0.0}
        assert points(images, rule).points == pytest.approx(50)
    assert MeanPrecision(VOC).points == 0


BETWEEN: list[list[float]] = [[0.99, 0, 2, 0, 12, 10], [0.98, 0, 6, 0, 16, 10]]
"""The first overlaps two truths alike, and the second only one of them."""


def scenes(seed: int, *, aside: bool) -> list[Image]:
    """Images with truths, and detections near them, misplaced, doubled, of wrong classes; scores that are often equal."""
    random = np.random.default_rng(seed)
    made = [image(BETWEEN, [[0, 0, 0, 10, 10, 0], [0, 4, 0, 14, 10, 0]])]
    for _ in range(25):
        low = random.integers(0, 60, (random.integers(0, 7), 2)).astype(float)
        boxes = np.concatenate([low, low + random.integers(5, 40, low.shape)], axis=1)
        kinds = random.integers(0, 3, len(boxes)).astype(float)
        flags = (random.random(len(boxes)) < 0.3) * float(aside)
        again = random.integers(0, max(len(boxes), 1), random.integers(0, 12)) if len(boxes) else np.zeros(0, int)
        found = boxes[again] + random.normal(0, 3, (len(again), 4))
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        stray = random.uniform(0, 60, (3, 2))
        found = np.concatenate([found, np.concatenate([stray, stray + random.uniform(5, 40, (3, 2))], axis=1)])
        classes = np.concatenate([kinds[again], random.integers(0, 3, 3)]).astype(np.int64)
        scores = np.round(random.random(len(found)), 1 if seed % 2 else 6)
        made.append((Detections(found, scores, classes), np.column_stack([kinds, boxes, flags])))
    return made


def voc_by_the_rule(images: list[Image], kind: int) -> list[tuple[float, float]]:
    """(recall, precision) after each detection, as the paper tells it, one after the other."""
    rows = [
        (score, number, box)
        for number, (found, _) in enumerate(images)
        for score, box, which in zip(found.scores, found.boxes, found.classes, strict=True)
        if which == kind
    ]
    rows.sort(key=lambda row: -row[0])
    truths = [own[own[:, 0] == kind] for _, own in images]
    total, right, wrong = sum(int((own[:, 5] == 0).sum()) for own in truths), 0, 0
    met: set[tuple[int, int]] = set()
    curve = []
    for _, number, box in rows:
        own = truths[number]
        overlaps = iou(box[None], own[:, 1:5])[0] if len(own) else np.zeros(1)
        best = int(overlaps.argmax())
        if overlaps[best] >= 0.5:
            if own[best, 5]:
                continue
            if (number, best) not in met:
                met.add((number, best))
                right += 1
                curve.append((right / total, right / (right + wrong)))
                continue
        wrong += 1
        curve.append((right / total, right / (right + wrong)))
    return curve


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("aside", [False, True])
def test_voc_by_the_rule(seed: int, aside: bool) -> None:
    images = scenes(seed, aside=aside)
    old, new = points(images, VOC07).by_class, points(images, VOC).by_class
    assert len(new) == 3
    for kind in new:
        curve = voc_by_the_rule(images, kind)
        levels = [max((p for r, p in curve if r >= k / 10), default=0.0) for k in range(11)]
        assert old[kind] == pytest.approx(sum(levels) / 11)
        recalls = sorted({r for r, _ in curve if r > 0})
        whole = sum(
            (r - before) * max(p for other, p in curve if other >= r)
            for before, r in zip([0.0, *recalls], recalls, strict=False)
        )
        assert new[kind] == pytest.approx(whole)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("aside", [False, True])
def test_coco_is_that_of_pycocotools(seed: int, aside: bool) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools import coco
    from pycocotools.cocoeval import COCOeval

    images = scenes(seed, aside=aside)
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, (detections, own) in enumerate(images):
        for kind, *box, crowd in own.tolist():
            size = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": number,
                    "category_id": int(kind),
                    "bbox": size,
                    "area": size[2] * size[3],
                    "iscrowd": int(crowd),
                }
            )
        for box, score, kind in zip(detections.boxes, detections.scores, detections.classes, strict=True):
            size = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            found.append(
                {"image_id": number, "category_id": int(kind), "bbox": [*map(float, size)], "score": float(score)}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(len(images))],
            "categories": [{"id": kind} for kind in range(3)],
            "annotations": truths,
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class; all areas, 100 detections
    ours = points(images, COCO)
    assert ours.by_class == {kind: pytest.approx(precision[:, :, kind].mean(), abs=1e-9) for kind in range(3)}
    assert ours.points == pytest.approx(100 * precision.mean(), abs=1e-7)


def test_coco_looks_at_the_hundred_best_of_an_image() -> None:
    found = [[1 - i / 1000, 0, *OFF] for i in range(100)] + [[0.1, 0, *A]]
    assert points([image(found, [[0, *A, 0]])], COCO).points == 0
    assert points([image(found[1:], [[0, *A, 0]])], COCO).points == pytest.approx(1.0)


LABELS = {
    "padded": ([[[3, 0, 0, 1, 1], [-1] * 5], [[1, 0, 0, 2, 2], [2, 1, 1, 2, 2]]], 0),
    "padded, some set aside": ([[[3, 0, 0, 1, 1, 1], [-1] * 6], [[1, 0, 0, 2, 2, 0], [2, 1, 1, 2, 2, 0]]], 1),
    "with the image's index": ([[1, 1, 0, 0, 2, 2], [0, 3, 0, 0, 1, 1], [1, 2, 1, 1, 2, 2]], 0),
}


@pytest.mark.parametrize(("labels", "aside"), LABELS.values(), ids=LABELS)
def test_labels(labels: Any, aside: int) -> None:
    found = padded(np.array(labels, np.float32), 2)
    assert found.shape == (2, 2, 6)
    assert found[..., 0].tolist() == [[3, -1], [1, 2]]
    assert found[0, 0].tolist() == [3, 0, 0, 1, 1, aside]
    assert found[1].tolist() == [[1, 0, 0, 2, 2, 0], [2, 1, 1, 2, 2, 0]]


def test_labels_of_images_without_boxes() -> None:
    assert (padded(np.zeros((0, 6)), 3)[..., 0] == -1).all()


@pytest.mark.parametrize(
    ("labels", "told"),
    [(np.zeros(4), "no boxes of 4 samples"), (np.array([[[1, 5, 5, 5, 9]]] * 4), "the box 5, 5, 5, 9 has no area")],
)
def test_labels_that_are_refused(labels: Array, told: str) -> None:
    with pytest.raises(PruneirError, match=told):
        padded(labels, 4)
