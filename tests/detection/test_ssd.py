"""The SSD in models/: its scenes, its score, its export with suppression inside, and what a cut makes of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pruneir.api import optimize
from pruneir.cost import cost
from pruneir.coupling import couple
from pruneir.data import from_arrays
from pruneir.detection.anchors import load_anchors
from pruneir.detection.boxes import iou
from pruneir.detection.detect import Detector, softmax
from pruneir.detection.evaluate import mean_precision
from pruneir.graph import Graph
from pruneir.onnx_io import load, session, to_model

MODELS = Path(__file__).parents[2] / "models"
SSD = MODELS / "ssd" / "ssd_s0.onnx"
ANCHORS = load_anchors(MODELS / "ssd" / "anchors.npy")
POINTS = 96.14


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """models/ssd/build.py and scenes.py."""
    sys.path.insert(0, str(MODELS.parent))
    yield tuple(importlib.import_module(f"models.ssd.{name}") for name in ("build", "scenes"))
    sys.path.remove(str(MODELS.parent))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load(SSD)


@pytest.fixture(scope="module")
def test_set() -> dict[str, np.ndarray]:
    with np.load(MODELS / "ssd" / "test_300.npz") as archive:
        return dict(archive)


def test_the_test_scenes_are_those_of_the_script(scripts: Any, test_set: dict[str, np.ndarray]) -> None:
    _, maker = scripts
    x, y = maker.scenes("test", 60, 1)
    assert test_set["x"].shape == (300, 1, 96, 96)
    np.testing.assert_array_equal(y, test_set["y"][:60])
    np.testing.assert_array_equal(x, test_set["x"][:60])


def test_sets_share_no_digit(scripts: Any) -> None:
    _, maker = scripts
    found = {name: {image.tobytes() for image in maker.digits(name)[0]} for name in ("training", "validation", "test")}
    assert {name: len(each) for name, each in found.items()} == {"training": 7000, "validation": 1000, "test": 2000}
    assert len(set.union(*found.values())) == 10000
    with np.load(MODELS / "data" / "mnist_test_2k.npz") as archive:
        assert {(image * 255).round().astype(np.uint8).tobytes() for image in archive["x"]} == found["test"]


def test_boxes_hold_their_digits(test_set: dict[str, np.ndarray]) -> None:
    known = test_set["y"][test_set["y"][..., 0] >= 0]
    sides = (known[:, 3:] - known[:, 1:3]).max(axis=1) * 96
    assert known[:, 1:].min() >= 0
    assert known[:, 1:].max() <= 1
    assert 11.4 < sides.min() < 13
    assert 47 < sides.max() < 48.6
    assert np.bincount(known[:, 0].astype(int), minlength=10).min() > 60
    pairs = [iou(own[own[:, 0] >= 0, 1:], own[own[:, 0] >= 0, 1:]) for own in test_set["y"]]
    assert sum(int((np.triu(each, 1) > 0).sum()) for each in pairs) > 50


def test_anchors_are_those_of_the_script(scripts: Any) -> None:
    builder, _ = scripts
    assert ANCHORS.boxes.tolist() == builder.anchors().tolist()


def test_what_it_reaches(graph: Graph, test_set: dict[str, np.ndarray]) -> None:
    found = mean_precision(graph, from_arrays(test_set, graph), ANCHORS)
    assert found.images == 300
    assert found.points == pytest.approx(POINTS, abs=0.3)


def test_the_export_with_suppression_detects_the_same(
    scripts: Any, graph: Graph, test_set: dict[str, np.ndarray]
) -> None:
    builder, _ = scripts
    images = test_set["x"][:20].astype(np.float32)
    loc, conf = session(graph).run(["loc", "conf"], {"x": images})
    expected = Detector(candidates=len(ANCHORS), most=10**6).detect(loc, softmax(conf), ANCHORS)
    inside = load(builder.decoding(to_model(graph), ANCHORS.boxes))
    image, kind, score, box = session(inside).run(["image", "class", "score", "box"], {"x": images})
    assert len(image) > 60
    for number, own in enumerate(expected):
        here = np.flatnonzero(image == number)
        here = here[np.argsort(-score[here], kind="stable")]
        np.testing.assert_allclose(score[here], own.scores, rtol=1e-4)
        np.testing.assert_array_equal(kind[here], own.classes)
        np.testing.assert_allclose(box[here], own.boxes, rtol=1e-4, atol=1e-5)


def test_pruned_in_phases_it_loses_less_than_a_point(graph: Graph, test_set: dict[str, np.ndarray]) -> None:
    slim = load(MODELS / "ssd" / "ssd_s0_slim.onnx")
    assert cost(couple(graph)).params / cost(couple(slim)).params > 6.7
    assert mean_precision(slim, from_arrays(test_set, slim), ANCHORS).points > POINTS - 1


def weights(graph: Graph) -> dict[str, tuple[int, ...]]:
    arrays = {name: graph.constant(name) for name in graph.values if name.endswith(".weight")}
    return {name: array.shape for name, array in arrays.items() if array is not None}


def test_all_of_the_trunk_can_be_cut_and_the_heads_keep_their_rows(graph: Graph) -> None:
    made = optimize(graph, ["filter{ratio=0.5}"])
    assert made.ok  # it equals the network with what was cut masked
    before, after = (weights(each) for each in (graph, made.graph))
    for name, shape in after.items():
        head = ".loc." in name or ".conf." in name
        assert shape[0] == before[name][0] if head else shape[0] < before[name][0], name
        assert shape[1] < before[name][1] or name == "conv1_1.weight"
