"""`repair` in a chain: what it says, what it does without data, and where there is nothing to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.coupling import couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io import session
from pruneir.passes.repair import Repair
from pruneir.pipeline.passes import Context, Uncut
from pruneir.surgery import apply
from pruneir.verify import kept_positions

MODELS = Path(__file__).parents[2] / "models"
NET = MODELS / "mnist_resnet/mnist_resnet_plain.onnx"
CALIB = MODELS / "data/mnist_calib_256.npz"
PAIR = "x[N,3,8,8] -> y { c = Conv(x, w[8,3,3,3]); n = BatchNormalization(c, g[8], b[8], m[8], v[8]); r = Relu(n); y = Conv(r, u[4,8,1,1]) }"


def accuracy(graph: Graph) -> float:
    test = np.load(MODELS / "data/mnist_test_2k.npz")
    x = test["x"].astype(np.float32)
    x = x if x.ndim == 4 else x[:, None]
    return float((session(graph).run(None, {graph.data_inputs[0]: x})[0].argmax(axis=1) == test["y"]).mean())


def test_nothing_was_cut() -> None:
    graph = parse(PAIR)
    result = Repair().run(graph, Context(graph))
    assert result.graph is graph
    assert result.notes == ("nothing was cut: nothing to repair",)


@pytest.mark.parametrize("options", [{"positions": 0}, {"damping": 0.0}, {"damping": -1.0}])
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(PruneirError, match="pass repair: "):
        Repair(**options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_trained_network_gets_its_accuracy_back() -> None:
    """The bar of 90 % of what the cut lost, from 256 samples without labels."""
    cut = "filter{ratio=0.5,scope=local,absorb=false}"
    base = accuracy(pruneir.load(NET))
    naive = accuracy(pruneir.optimize(NET, [cut], verify=False).graph)
    made = pruneir.optimize(NET, [cut, "repair"], data=CALIB)
    assert made.ok
    assert naive < base - 0.1
    assert accuracy(made.graph) >= naive + 0.9 * (base - naive)
    assert made.plan.changed
    assert any("layers refitted from 256 samples" in note for note in made.outcome.notes)


@pytest.mark.parametrize("absorb", ["true", "false"])
def test_without_data_channels_are_merged(absorb: str) -> None:
    cut = f"filter{{ratio=0.3,scope=local,absorb={absorb}}}"
    absorbed = accuracy(pruneir.optimize(NET, ["filter{ratio=0.3,scope=local}"], verify=False).graph)
    made = pruneir.optimize(NET, [cut, "repair"], verify=False)
    assert any("no data: merged" in note for note in made.outcome.notes)
    assert accuracy(made.graph) > absorbed + 0.2


def test_without_data_and_merging_nothing_is_done() -> None:
    made = pruneir.optimize(NET, ["filter{ratio=0.3}", "repair{merge=false}"], verify=False)
    assert any("no data: nothing repaired" in note for note in made.outcome.notes)


def test_twins_are_merged_without_data() -> None:
    """Filters that are equal have correlation one: the one left takes over for both, up to the damping."""
    graph = parse(PAIR)
    for name in "wgbmv":
        array = graph.initializers[name].copy()
        array[4:] = array[:4]
        graph.set_initializer(name, array)
    coupling = couple(graph)
    (group,) = (group for group in coupling.groups if len(group) == 8)
    dead = coupling.dead([(group, np.arange(4, 8))])
    small = apply(coupling, dead).graph
    merged = Repair().run(small, Context(graph, uncut=Uncut(graph, lambda: kept_positions(coupling, dead))))
    x = {"x": np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)}
    wanted, before, after = (session(g).run(None, x)[0] for g in (graph, small, merged.graph))
    assert np.abs(after - wanted).mean() < 0.05 * np.abs(before - wanted).mean()
    assert merged.changed == {"u", "y.bias"}
