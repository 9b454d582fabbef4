"""Scores: what each kind counts, batch by batch."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.data import from_arrays
from pruneir.detection.anchors import anchors_from
from pruneir.detection.detect import Detector
from pruneir.detection.evaluate import mean_precision
from pruneir.detection.metrics import VOC, MeanPrecision
from pruneir.detection.truths import padded
from pruneir.errors import PruneirError
from pruneir.onnx_io import session
from pruneir.score import Tally, score, unread
from pruneir.shapes import with_input_shapes
from support.detector import ANCHORS, detector, listed, scenes

THREE = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
FLIPPED = THREE[:, ::-1]


def test_accuracy_counts_labels_hit() -> None:
    tally = Tally()
    tally.add([THREE[:2]], np.array([1, 1]))
    tally.add([THREE[2:, :, None, None]], np.array([1]))
    assert (tally.score.kind, tally.score.samples) == ("accuracy", 3)
    assert tally.score.points == pytest.approx(200 / 3)


def test_agreement_without_labels() -> None:
    tally = Tally()
    tally.add([THREE], None, [np.where([[True], [False], [True]], THREE, FLIPPED)])
    assert tally.score.kind == "agreement"
    assert tally.score.points == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("made", "points"),
    [(lambda y: y, 100), (lambda y: np.full_like(y, y.mean()), 0), (lambda y: y + 2 * (y - y.mean()), -300)],
)
def test_fidelity_is_the_share_of_variance_explained(made, points: float) -> None:  # type: ignore[no-untyped-def]
    y = np.random.default_rng(0).normal(5, 2, (6, 3, 4))
    tally = Tally()
    for part in (slice(0, 2), slice(2, 6)):
        tally.add([made(y)[part]], None, [y[part]])
    assert tally.score.kind == "fidelity"
    assert tally.score.points == pytest.approx(points, abs=1e-6)


def test_what_cannot_be_scored_is_said() -> None:
    with pytest.raises(PruneirError, match="no samples"):
        _ = Tally().score
    with pytest.raises(PruneirError, match="compares with another"):
        Tally().add([THREE])
    half = Tally()
    half.add([THREE], np.array([1, 0, 1]))
    with pytest.raises(PruneirError, match="label all or none"):
        half.add([THREE], None, [THREE])


BOXES = detector()
"""A detector that holds its anchors."""


ENDS = {
    "scores": "",
    "softmax": "conf = Softmax(scores, axis=2)",
    "log-softmax": "conf = LogSoftmax(scores, axis=2)",
    "softmax and copies": "s = Softmax(scores, axis=2); t = Dropout(s); conf = Identity(t)",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("form", ["padded", "listed"])
def test_boxes_are_scored_by_map(form: str, end: str) -> None:
    graph = detector(end=end)
    arrays = scenes(70)
    found = score(graph, from_arrays(arrays if form == "padded" else listed(arrays), graph))
    assert (found.kind, found.samples) == ("mAP", 70)
    plain = mean_precision(BOXES, from_arrays(arrays, BOXES))
    assert found.points == pytest.approx(plain.points, abs=1e-3)
    assert found.points > 0


def test_sigmoids_are_chances_as_they_are() -> None:
    graph, arrays, counted = detector(end="conf = Sigmoid(scores)"), scenes(20), MeanPrecision(VOC)
    loc, conf = session(graph).run(["loc", "conf"], {"x": arrays["x"]})
    found = Detector().detect(np.asarray(loc), np.asarray(conf), anchors_from(ANCHORS, "anchors"))
    for one, truths in zip(found, padded(arrays["y"], 20), strict=True):
        counted.add(one, truths)
    assert score(graph, from_arrays(arrays, graph)).points == pytest.approx(counted.points)


@pytest.mark.parametrize("form", ["padded", "listed"])
def test_a_batch_of_fixed_size_counts_its_samples_alone(form: str) -> None:
    arrays, fixed = scenes(11), with_input_shapes(BOXES, {"x": (8, 1, 24, 24)})
    given = arrays if form == "padded" else listed(arrays)
    plain = mean_precision(BOXES, from_arrays(arrays, BOXES))
    assert mean_precision(fixed, from_arrays(given, fixed)).points == pytest.approx(plain.points, abs=1e-3)
    found = score(fixed, from_arrays(given, fixed))
    assert (found.kind, found.samples) == ("mAP", 11)
    assert found.points == pytest.approx(plain.points, abs=1e-3)


def test_anchors_may_be_given_or_in_the_other_network_and_without_any_boxes_do_not_count() -> None:
    graph, arrays = detector(anchors=False), scenes(20)
    data = from_arrays(arrays, graph)
    plain = score(BOXES, from_arrays(arrays, BOXES))
    assert score(graph, data, BOXES, anchors=anchors_from(ANCHORS, "anchors")) == plain
    assert score(graph, data, BOXES) == plain
    assert score(graph, data, graph).kind == "fidelity"
    assert [unread(graphs, data) == "" for graphs in ([BOXES], [graph, BOXES], [graph])] == [True, True, False]
    assert "135 anchors are no constant [A, 4] of the network; give them as anchors=FILE.npy" in unread([graph], data)
    graph.set_initializer("some", ANCHORS)
    graph.set_initializer("others", ANCHORS + 1)
    assert "could be any of the constants some, others" in unread([graph], data)
    assert unread([graph], from_arrays({"x": arrays["x"]}, graph)) == ""
    with pytest.raises(PruneirError, match="134 anchors, but 'loc' has 135 rows"):
        score(graph, data, anchors=anchors_from(ANCHORS[:-1], "anchors"))
