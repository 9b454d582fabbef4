"""Real networks through the whole pipeline: accuracy, validity, and the property, on what models/ holds."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import numpy as np
import onnx
import onnxruntime
import pytest

import pruneir
from pruneir.cost import prunable_share
from pruneir.pipeline.passes import Context
from pruneir.pipeline.registry import parse_pass
from pruneir.verify import check_model, compare, random_feeds

MODELS = Path(__file__).parents[2] / "models"
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
SEEDS = [MODELS / f"mnist_resnet/mnist_resnet_s{seed}.onnx" for seed in range(3)]
TEST = MODELS / "data/mnist_test_2k.npz"


def test_slimming_halves_the_work_and_keeps_the_accuracy() -> None:
    """The bar: ratio 0.5 without training, at least 2× fewer MACs and at most 1.0 point lost, mean of three seeds."""
    reports = [pruneir.optimize(path, passes=["slim{ratio=0.5}"], data=TEST).report for path in SEEDS]
    lost = [r["accuracy"]["before"] - r["accuracy"]["after"] for r in reports]
    assert mean(lost) <= 0.01
    assert all(r["macs"]["before"] >= 2 * r["macs"]["after"] for r in reports)
    assert all(r["verify"]["ok"] for r in reports)


def test_absorption_is_what_keeps_it() -> None:
    """Where accuracy starts to fall, the constants that removed channels leave are worth tens of points."""
    kept, dropped = (
        mean(
            pruneir.optimize(path, passes=[f"slim{{ratio=0.6,absorb={absorb}}}"], data=TEST, verify=False).report[
                "accuracy"
            ]["after"]
            for path in SEEDS
        )
        for absorb in ("true", "false")
    )
    assert kept > 0.95
    assert kept - dropped > 0.2


NETWORKS = [
    pytest.param(path, marks=pytest.mark.slow if "ppocr" in path.stem else ())
    for path in sorted(MODELS.rglob("*.onnx"))
]
PASSES = [
    "slim{ratio=0.5}",
    "filter{ratio=0.5}",
    "filter{ratio=0.5,absorb=false}",
    "filter{scope=global,criterion=gm,macs=0.6}",
]


@pytest.mark.parametrize("spec", PASSES)
@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_every_network_stays_valid(path: Path, spec: str) -> None:
    small = pruneir.optimize(path, passes=[spec])
    check_model(small.graph)
    onnx.checker.check_model(small.model, full_check=True)
    assert small.ok
    report = small.report
    if not small.plan.kept:
        assert any("nothing to prune" in warning for warning in report["warnings"])
    else:
        assert report["macs"]["after"] < report["macs"]["before"]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_a_replayed_plan_masks_the_input_file(path: Path) -> None:
    """The plan's slices set to zero in the input file give what the pruned file gives, without pruneir's own masking."""
    small = pruneir.optimize(path, passes=["filter{ratio=0.5,absorb=false}"])
    model, graph = onnx.load(path), pruneir.load(path)
    for name, axes in small.plan.to_json()["initializers"].items():
        base, node = (name, "") if name in graph.network else name.rsplit("@", 1)
        array = _tensor(model, base).copy()
        for axis, entry in axes.items():
            gone = np.setdiff1d(np.arange(entry["size"]), entry["kept"])
            array[(slice(None),) * int(axis) + (gone,)] = 0
        _put(model, base, node, array)
    for drift in compare(small.graph, pruneir.load(model), random_feeds(small.graph)):
        assert drift.equal, drift


def _tensor(model: onnx.ModelProto, name: str) -> np.ndarray:
    """A constant of the file: an initializer, a Constant node's tensor, or what a constant subgraph computes."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return onnx.numpy_helper.to_array(tensor)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(onnx.ValueInfoProto(name=name))
    feeds = random_feeds(pruneir.load(model))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {i.name: feeds[i.name] for i in session.get_inputs() if i.name in feeds})[0])


def _put(model: onnx.ModelProto, base: str, node: str, array: np.ndarray) -> None:
    """Let the model, or for `NAME@NODE` one node of it, read another tensor."""
    name = f"{base}@{node}" if node else base
    model.ir_version = max(model.ir_version, 4)
    for each in model.graph.node:
        if node and node in (each.name, each.output[0]):
            each.input[list(each.input).index(base)] = name
    if not node:
        for producer in [each for each in model.graph.node if name in each.output]:
            model.graph.node.remove(producer)
        for tensor in [each for each in model.graph.initializer if each.name == name]:
            model.graph.initializer.remove(tensor)
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))


@pytest.mark.parametrize("name", ["resnet50", "squeezenet", "inception_v2", "densenet121"])
def test_most_of_a_standard_network_can_be_cut(name: str) -> None:
    graph = pruneir.load(LIGHT / f"light_{name}.onnx")
    folded = parse_pass("fold").run(graph, Context(graph)).graph
    assert prunable_share(pruneir.trace(folded)) >= 0.9
