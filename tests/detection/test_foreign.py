"""Detectors of others, CenterFace and BlazeFace: read, cut, and compared with themselves."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs Pillow")

from benchmarks.detectors import MODELS, NETWORKS, Network
from PIL import Image

from pruneir.api import optimize
from pruneir.data import from_arrays
from pruneir.detection.agreement import agreement
from pruneir.detection.boxes import iou

FACES = {"astronaut": (0.35, 0.12, 0.54, 0.35), "hopper": (0.33, 0.25, 0.71, 0.67)}
"""In shares of the photograph's width, from its upper left corner; by eye."""


@pytest.mark.parametrize("photograph", FACES)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_best_box_is_the_face(network: Network, photograph: str) -> None:
    graph = network.graph()
    image = Image.open(MODELS / "photographs" / f"{photograph}.jpg").convert("RGB")
    square = image.resize((network.side,) * 2, Image.Resampling.BILINEAR, (0, 0, image.width, image.width))
    pixels = np.asarray(square)[None]
    given = pixels if network.last else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    data = from_arrays({graph.data_inputs[0]: given}, graph, scaling=network.scaling)
    scores, boxes = network.detected(graph, data)
    best = boxes[0, [scores[0].argmax()]] / network.side
    assert iou(best, np.array([FACES[photograph]]))[0, 0] > 0.6


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_cut_network_is_what_it_must_equal(network: Network) -> None:
    graph = network.graph()
    test = network.data(graph, "test", 6)
    known = network.detected(graph, test)
    assert agreement(*known, *known).tolist() == [1] * 6
    cut = optimize(graph, ["filter{macs=0.67,absorb=false}"])
    assert cut.ok
    assert cut.report["macs"]["after"] <= 0.67 * cut.report["macs"]["before"]
    shape = {name: cut.graph.type_of(name) for name in (*cut.graph.data_inputs, *cut.graph.outputs)}
    assert shape == {name: graph.type_of(name) for name in shape}
    scores, boxes = network.detected(cut.graph, test)
    assert scores.shape == known[0].shape
    assert boxes.shape == known[1].shape
