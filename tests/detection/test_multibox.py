"""The multibox loss against the paper read plainly, matching by hand, and a network that learns four images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.api import optimize, train  # noqa: E402
from pruneir.data import from_arrays  # noqa: E402
from pruneir.detection.anchors import Anchors, anchors_from, load_anchors  # noqa: E402
from pruneir.detection.boxes import VARIANCES, encode, iou  # noqa: E402
from pruneir.detection.detect import Detector  # noqa: E402
from pruneir.detection.evaluate import mean_precision  # noqa: E402
from pruneir.detection.heads import heads_of  # noqa: E402
from pruneir.detection.metrics import COCO, VOC  # noqa: E402
from pruneir.errors import PruneirError  # noqa: E402
from pruneir.score import score  # noqa: E402
from pruneir.training.fit import fit  # noqa: E402
from pruneir.training.multibox import MATCHED, MINED, Multibox, match, mined, multibox, offsets  # noqa: E402
from pruneir.training.objective import loss_of  # noqa: E402
from pruneir.training.options import Training  # noqa: E402
from support.detector import ANCHORS, detector, listed, scenes  # noqa: E402

SHAPES = {"loc": (8, len(ANCHORS), 4), "conf": (8, len(ANCHORS), 3)}
ROW = [[x, 0, x + 10, 10] for x in (0, 10, 20, 30)]
"""Four anchors side by side."""

# name: (truths, what each anchor is matched with; None where with none)
MATCHES: dict[str, tuple[list[list[float]], list[int | None]]] = {
    "nothing there": ([], [None] * 4),
    "one, on an anchor": ([[10, 0, 20, 10]], [None, 0, None, None]),
    "the best anchor, however small the overlap": ([[10, 0, 12, 2]], [None, 0, None, None]),
    "every anchor above the threshold": ([[10, 0, 20, 10], [18, 0, 28, 10]], [None, 0, 1, None]),
    "two with one best anchor: the nearer gets it": ([[11, 0, 21, 10], [10, 0, 20, 10]], [None, 1, 0, None]),
    "two on the very same place": ([[10, 0, 20, 10], [10, 0, 20, 10]], [None, 0, None, None]),
    "outside of all anchors": ([[100, 100, 110, 110]], [None] * 4),
}


def matched(truths: list[list[float]], anchors: Any) -> list[int | None]:
    boxes = torch.zeros(1, 5, 4)
    boxes[0, : len(truths)] = torch.tensor(truths).reshape(-1, 4)
    which, found = match(boxes, torch.arange(5)[None] < len(truths), torch.tensor(anchors, dtype=torch.float32))
    return [int(truth) if is_matched else None for truth, is_matched in zip(which[0], found[0], strict=True)]


@pytest.mark.parametrize(("truths", "expected"), MATCHES.values(), ids=MATCHES)
def test_matches(truths: list[list[float]], expected: list[int | None]) -> None:
    assert matched(truths, ROW) == expected


def test_a_truth_has_all_anchors_that_it_overlaps_by_more_than_half() -> None:
    anchors = [[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 5], [0, 0, 10, 5.1]]  # IoU 1, 0.7, 0.5, 0.51
    assert matched([[0, 0, 10, 10]], anchors) == [0, 0, None, 0]


def test_the_best_anchor_of_one_truth_is_its_own_though_another_overlaps_it_more() -> None:
    anchors = [[0, 0, 10, 10], [0, 0, 9, 10]]
    assert matched([[0, 0, 10, 10], [0, 0, 12, 10]], anchors) == [0, 1]


def test_three_negatives_for_each_match_and_the_hardest_ones() -> None:
    losses = torch.tensor([[9.0, 1, 2, 3, 4, 5, 6], [9, 1, 2, 3, 4, 5, 6], [9, 1, 2, 3, 4, 5, 6]])
    positive, skipped = torch.zeros(3, 7, dtype=torch.bool), torch.zeros(3, 7, dtype=torch.bool)
    positive[0, 0] = positive[2, 0] = positive[2, 1] = True
    skipped[0, 6] = True
    assert mined(losses, positive, skipped).tolist() == [
        [False, False, False, True, True, True, False],
        [False] * 7,
        [False, False, True, True, True, True, True],
    ]


def test_offsets_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    low = random.random((2, len(ANCHORS), 2))
    boxes = np.concatenate([low, low + random.uniform(0.1, 0.5, low.shape)], axis=2)
    found = offsets(torch.from_numpy(boxes), torch.from_numpy(ANCHORS).double(), torch.tensor(VARIANCES))
    np.testing.assert_allclose(found.numpy(), encode(boxes, ANCHORS.astype(np.float64)), rtol=1e-6, atol=1e-6)


def plain(loc: Any, conf: Any, labels: Any, anchors: Any) -> Any:
    """The loss as the paper tells it, image by image and anchor by anchor."""
    total, count = torch.zeros((), dtype=loc.dtype), 0
    for image in range(len(loc)):
        truths = [row for row in labels[image].tolist() if row[0] >= 0]
        boxes = np.array([row[1:5] for row in truths]).reshape(-1, 4)
        overlaps = iou(boxes, anchors)
        pairs: dict[int, int] = {}
        left = overlaps.copy()
        while left.size and left.max() > 0:
            row, column = divmod(int(left.argmax()), len(anchors))
            pairs[column] = row
            left[row], left[:, column] = 0, 0
        for anchor in range(len(anchors)):
            if anchor not in pairs and truths and overlaps[:, anchor].max() > MATCHED:
                pairs[anchor] = int(overlaps[:, anchor].argmax())
        negatives = []
        for anchor in range(len(anchors)):
            logs = torch.log_softmax(conf[image, anchor], 0)
            if anchor not in pairs:
                negatives.append(-logs[0])
                continue
            truth = pairs[anchor]
            if len(truths[truth]) == 6 and truths[truth][5]:
                continue
            count += 1
            aim = torch.from_numpy(encode(boxes[[truth]], anchors[[anchor]])[0]).to(loc)
            apart = (loc[image, anchor] - aim).abs()
            total = total + torch.where(apart < 1, 0.5 * apart**2, apart - 0.5).sum() - logs[int(truths[truth][0]) + 1]
        own = sum(1 for truth in pairs.values() if not (len(truths[truth]) == 6 and truths[truth][5]))
        total = total + sum(sorted(negatives, key=lambda each: -float(each.detach()))[: MINED * own])
    return total / max(count, 1)


@pytest.mark.parametrize("aside", [False, True], ids=["all count", "some set aside"])
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradients_are_the_papers(seed: int, aside: bool) -> None:
    labels = scenes(6, seed)["y"]
    labels[3] = -1  # an image without a box
    if aside:
        labels = np.concatenate([labels, np.zeros((*labels.shape[:2], 1), np.float32)], axis=2)
        labels[::2, 0, 5] = 1
    random = torch.Generator().manual_seed(seed)
    loc = torch.randn(6, len(ANCHORS), 4, generator=random, dtype=torch.float64, requires_grad=True)
    conf = torch.randn(6, len(ANCHORS), 3, generator=random, dtype=torch.float64, requires_grad=True)
    term = Multibox("loc", "conf", Anchors(ANCHORS, np.array(VARIANCES)))
    ours = term({"loc": loc, "conf": conf}, torch.from_numpy(labels), None)
    theirs = plain(loc, conf, labels, ANCHORS.astype(np.float64))
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-6)
    for here, there in zip(
        torch.autograd.grad(ours, [loc, conf]), torch.autograd.grad(theirs, [loc, conf]), strict=True
    ):
        assert float(there.abs().max()) > 0
        np.testing.assert_allclose(here.numpy(), there.numpy(), rtol=1e-5, atol=1e-8)


def test_a_batch_without_boxes_has_no_loss_and_no_nan() -> None:
    loc, conf = torch.randn(2, len(ANCHORS), 4, requires_grad=True), torch.randn(2, len(ANCHORS), 3, requires_grad=True)
    term = Multibox("loc", "conf", Anchors(ANCHORS, np.array(VARIANCES)))
    loss = term({"loc": loc, "conf": conf}, torch.full((2, 3, 5), -1.0), None)
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(loc.grad.abs().max()) == float(conf.grad.abs().max()) == 0


def test_a_network_learns_four_images() -> None:
    graph, arrays = detector(), scenes(4)
    data = from_arrays(arrays, graph)
    training = Training(epochs=60, loss="multibox", optimizer="adamw", lr=0.01, batch=4, threads=1)
    fitted = fit(graph, training, data, validation=data)
    assert fitted.before.kind == fitted.after.kind == "mAP"
    assert fitted.before.points < 30
    assert fitted.after.points == pytest.approx(100)
    assert fitted.after.loss < 0.1 * fitted.before.loss
    for rule, least in ((VOC, 99.9), (COCO, 70)):
        assert mean_precision(fitted.graph, data, rule=rule).points > least


def test_a_softmax_at_the_end_changes_nothing() -> None:
    arrays = scenes(8)
    plainly, softened = detector(), detector(end="conf = Softmax(scores, axis=2)")
    training = Training(epochs=2, loss="multibox", lr=0.01, batch=4, threads=1)
    first = fit(plainly, training, from_arrays(arrays, plainly))
    second = fit(softened, training, from_arrays(arrays, softened))
    assert [epoch.loss for epoch in first.history] == pytest.approx([epoch.loss for epoch in second.history], rel=1e-5)
    found = [mean_precision(each.graph, from_arrays(arrays, each.graph)).points for each in (first, second)]
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_boxes_with_the_image_index_are_the_same_labels() -> None:
    arrays, graph = scenes(8), detector()
    training = Training(epochs=2, loss="multibox", lr=0.01, batch=4, threads=1)
    first, second = (fit(graph, training, from_arrays(each, graph)) for each in (arrays, listed(arrays)))
    assert [epoch.loss for epoch in first.history] == [epoch.loss for epoch in second.history]
    assert first.after == second.after


def test_labels_and_a_teacher() -> None:
    graph, arrays = detector(), scenes(8)
    training = Training(epochs=1, loss="multibox", distill=0.5, lr=0.01, batch=8, threads=1)
    loss = loss_of(graph, training, arrays["y"], teacher=True, boxes=heads_of([graph], SHAPES))
    assert loss.text == "0.5 multibox + 0.5 distillation"
    assert [weight for weight, _ in loss.terms] == [0.5, 0.25, 0.25]
    fitted = fit(graph, training, from_arrays(arrays, graph), teacher=detector(seed=1))
    assert fitted.after.kind == "mAP"


def test_anchors_from_a_file(tmp_path: Path) -> None:
    graph, file = detector(anchors=False), tmp_path / "anchors.npy"
    with pytest.raises(PruneirError, match=r"the 135 anchors are no constant \[A, 4\] of the network"):
        heads_of([graph], SHAPES)
    np.save(file, ANCHORS)
    assert multibox(graph, heads_of([graph], SHAPES, load_anchors(file))).anchors.boxes.tolist() == ANCHORS.tolist()
    np.save(file, ANCHORS[:-1])
    with pytest.raises(PruneirError, match="134 anchors, but 'loc' has 135 rows"):
        heads_of([graph], SHAPES, load_anchors(file))


def test_anchors_that_the_network_held_before_the_chain() -> None:
    """`fold` takes out what no operator reads; the network that the chain began with still has it."""
    made = optimize(
        detector(), ["train{loss=multibox,epochs=1,batch=8,lr=0.01,threads=1}"], data=scenes(16), verify=False
    )
    assert "anchors" not in made.graph.initializers
    assert any("mAP" in note for note in made.outcome.notes)


@pytest.mark.parametrize("labels", [np.zeros((8, 0, 5), np.float32), np.full((8, 2, 5), -1, np.float32)])
def test_where_no_sample_has_a_box_there_is_nothing_to_learn(labels: np.ndarray) -> None:
    graph, training = detector(), Training(epochs=1, loss="multibox", lr=0.01, batch=8, threads=1)
    arrays = scenes(8)
    with pytest.raises(PruneirError, match="loss=multibox: no sample has a box"):
        fit(graph, training, from_arrays({**arrays, "y": labels}, graph))
    fit(graph, training, from_arrays(arrays, graph), from_arrays({**arrays, "y": labels}, graph))


def test_what_ends_in_a_sigmoid_is_no_softmax() -> None:
    graph, arrays = detector(end="s = Sigmoid(scores); conf = Identity(s)"), scenes(8)
    data = from_arrays(arrays, graph)
    with pytest.raises(PruneirError, match="'conf' ends in a Sigmoid"):
        fit(graph, Training(epochs=1, loss="multibox", threads=1), data)
    training = Training(epochs=1, loss="distill", lr=0.01, batch=8, threads=1)
    fitted = fit(graph, training, data, teacher=detector(seed=1, end="conf = Sigmoid(scores)"))
    assert fitted.before.points == pytest.approx(score(graph, data).points, abs=1e-3)


def test_boxes_that_say_nothing_for_want_of_anchors_are_told() -> None:
    graph, arrays = detector(anchors=False), scenes(8)
    training = Training(epochs=1, loss="distill", lr=0.01, batch=8, threads=1)
    for anchors in (False, True):
        made = train(graph, training, data=arrays, teacher=detector(seed=1, anchors=anchors))
        assert any("give them as anchors=FILE.npy" in warning for warning in made.warnings) != anchors


def pixels(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "y": np.where(arrays["y"] < 0, -1, arrays["y"] * [1, 24, 24, 24, 24])}


def third_class(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "y": arrays["y"] + (arrays["y"] >= 0) * [2, 0, 0, 0, 0]}


LABELS = {
    "another unit": (pixels, "give both in the same unit"),
    "a class that the network does not have": (third_class, "give classes from 0 to 1"),
    "classes": (lambda arrays: {**arrays, "y": np.zeros(8, np.int64)}, "no boxes of"),
    "no labels": (lambda arrays: {"x": arrays["x"]}, "loss=multibox needs labels"),
}


@pytest.mark.parametrize(("change", "told"), LABELS.values(), ids=LABELS)
def test_labels_that_are_refused(change: Any, told: str) -> None:
    graph = detector()
    with pytest.raises(PruneirError, match=told):
        fit(
            graph,
            Training(epochs=1, loss="multibox", lr=0.01, batch=8, threads=1),
            from_arrays(change(scenes(8)), graph),
        )


def test_evaluating_needs_labels_and_heads() -> None:
    graph = detector()
    with pytest.raises(PruneirError, match="needs boxes as labels"):
        mean_precision(graph, from_arrays({"x": scenes(4)["x"]}, graph), anchors_from(ANCHORS, "anchors"))


def test_a_detector_that_learns_from_its_teacher_is_judged_by_boxes_where_there_are_some() -> None:
    graph, arrays = detector(), scenes(16)
    training = Training(epochs=1, loss="distill", lr=0.01, batch=8, threads=1)
    fitted = fit(graph, training, from_arrays(arrays, graph), teacher=detector(seed=1))
    assert fitted.before.kind == "mAP"
    quick = mean_precision(graph, from_arrays(arrays, graph), detector=Detector(candidates=100))
    assert fitted.before.points == pytest.approx(quick.points, abs=1e-3)
