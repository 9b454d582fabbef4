"""WDCNN: the network, its simulated bearings, and what is left of both after a cut."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pruneir
from pruneir.data import load_data
from pruneir.score import score

MODELS = Path(__file__).parents[2] / "models"
NETWORK = MODELS / "wdcnn/wdcnn_s0.onnx"
TEST = MODELS / "wdcnn/test_320.npz"


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(MODELS)
    return importlib.import_module("wdcnn.generate")


def accuracy(graph: pruneir.Graph) -> float:
    result = score(graph, load_data(TEST, graph))
    assert (result.kind, result.samples) == ("accuracy", 320)
    return result.points


def test_the_network_is_as_documented() -> None:
    model = onnx.load(NETWORK)
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds == {"Conv": 5, "BatchNormalization": 5, "Relu": 5, "MaxPool": 5, "Flatten": 1, "Gemm": 1}
    graph = pruneir.load(NETWORK)
    weights = [array for name, array in graph.initializers.items() if "running" not in name]
    assert sum(array.size for array in weights) == 35_690
    assert pruneir.optimize(graph, ["fold"], verify=False).report["macs"]["before"] == 698_240
    assert NETWORK.stat().st_size < 300_000
    assert TEST.stat().st_size < 700_000
    assert accuracy(graph) == pytest.approx(97.81, abs=0.4)


def test_repair_gives_back_most_of_half_of_its_channels(generate: Any) -> None:
    """Of 68 points that the cut takes, repair from unlabelled windows gave back 61 when this was written."""
    graph = pruneir.load(NETWORK)
    cut = pruneir.optimize(graph, ["filter{ratio=0.5}"])
    repaired = pruneir.optimize(graph, ["filter{ratio=0.5}", "repair"], data=generate.calibration)
    assert cut.ok
    assert cut.report["macs"]["before"] > 3 * cut.report["macs"]["after"]
    before, broken, after = accuracy(graph), accuracy(cut.graph), accuracy(repaired.graph)
    assert broken < 60
    assert after > 85
    assert after - broken > 0.7 * (before - broken)


def test_the_file_is_its_seed(generate: Any) -> None:
    x, y = generate.windows(320, generate.TEST)
    with np.load(TEST) as file:
        np.testing.assert_array_equal(file["y"], y)
        np.testing.assert_allclose(file["x"].astype(np.float32), x, rtol=0, atol=1.01 * generate.STEP)


def test_windows_are_their_seed_and_number(generate: Any) -> None:
    x, y = generate.windows(30, seed=5)
    some = list(generate.batches(25, seed=5, size=10))
    assert [len(labels) for _, labels in some] == [10, 10, 5]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in some]), x[:25])
    assert x.shape == (30, 1, 2048)
    assert x.dtype == np.float32
    assert Counter(y.tolist()) == dict.fromkeys(range(10), 3)
    np.testing.assert_allclose(x.mean(axis=2), 0, atol=0.01)
    np.testing.assert_allclose(x.std(axis=2), 1, atol=0.01)
    assert len({each.tobytes() for seed in range(4) for each in generate.windows(10, seed)[0]}) == 40


def test_the_bearing_is_a_6205(generate: Any) -> None:
    """The defect frequencies that the bearing data centre of Case Western Reserve University lists for its 6205."""
    bearing = generate.DEEP_GROOVE_6205
    assert bearing.strikes == pytest.approx({"outer": 3.5848, "inner": 5.4152, "ball": 4.7135}, abs=1e-3)
    assert bearing.cage == pytest.approx(0.39828, abs=1e-3)


@pytest.mark.parametrize("label", [3, 6, 9], ids=["outer", "inner", "ball"])
def test_hits_come_at_the_frequency_of_their_place(generate: Any, label: int) -> None:
    """The envelope's spectrum, averaged over windows, is largest near that frequency, of the three places'.

    In between are the sidebands of the load zone, so the lines of the places alone are compared.
    """
    windows = [generate.window(np.random.default_rng((9, number)), label)[None] for number in range(60)]
    signal = np.concatenate(windows).astype(np.float64)
    envelope = np.abs(signal) - np.abs(signal).mean(axis=1, keepdims=True)
    spectrum = np.square(np.abs(np.fft.rfft(envelope, 16_384))).mean(axis=0)
    orders = np.arange(len(spectrum)) * generate.RATE / 16_384 / (np.mean(generate.SPEED) / 60)
    heights = {
        place: spectrum[np.abs(orders - order) < 0.1].max()
        for place, order in generate.DEEP_GROOVE_6205.strikes.items()
    }
    assert max(heights, key=lambda place: heights[place]) == generate.PLACES[label // 3 - 1]
