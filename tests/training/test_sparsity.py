"""Penalties that make exact zeros, masks that keep them, and dropout that follows the connections."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.errors import PruneirError  # noqa: E402
from pruneir.graph import Graph, parse  # noqa: E402
from pruneir.pipeline.plan import Plan  # noqa: E402
from pruneir.training.dropout import with_dropout  # noqa: E402
from pruneir.training.fit import fit  # noqa: E402
from pruneir.training.history import Fitted  # noqa: E402
from pruneir.training.network import Network  # noqa: E402
from pruneir.training.options import Training  # noqa: E402
from pruneir.training.penalties import Penalties  # noqa: E402
from support.training import network, samples  # noqa: E402


def trained(graph: Graph, masks: Any = None, **options: Any) -> Fitted:
    given = {"epochs": 2, "batch": 16, "lr": 0.05, "threads": 1, **options}
    return fit(graph, Training(**given), samples(), masks=masks)


def zeros(graph: Graph, name: str) -> float:
    return float((graph.initializers[name] == 0).mean())


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"optimizer": "sgd", "momentum": 0.9}, 10.0),
        ({"optimizer": "sgd", "momentum": 0.0}, 1.0),
        ({"optimizer": "adamw"}, 1.0),
    ],
    ids=str,
)
def test_a_proximal_step_is_the_soft_threshold(options: dict[str, Any], share: float) -> None:
    graph = network()
    net = Network(graph)
    before = net.scales["g"].detach().numpy().copy()
    kernel = net.weights["wc"].detach().clone()
    Penalties(net, list(net.weights), Training(l1_gamma=0.8, **options)).shrink(0.1)
    expected = np.sign(before) * np.maximum(np.abs(before) - 0.1 * share * 0.8, 0)
    np.testing.assert_allclose(net.scales["g"].detach().numpy(), expected, rtol=1e-5)
    assert torch.equal(net.weights["wc"], kernel)


def test_l1_on_scales_makes_exact_zeros_and_says_how_many() -> None:
    dense, sparse = trained(network(), epochs=4), trained(network(), epochs=4, l1_gamma=0.2)
    assert zeros(dense.graph, "g") == 0 < zeros(sparse.graph, "g")
    told = sparse.history[-1].sparsity
    assert told.zero_gammas == zeros(sparse.graph, "g")
    assert told.small_gammas == float((np.abs(sparse.graph.initializers["g"]) < 1e-2).mean())
    assert f"γ: {told.zero_gammas:.1%} are 0" in str(told)
    assert zeros(sparse.graph, "wc") == 0


def test_l1_on_weights_makes_exact_zeros_in_matrices_alone() -> None:
    sparse = trained(network(), l1_weights=0.02)
    assert zeros(sparse.graph, "wc") > 0.1
    assert zeros(sparse.graph, "wy") > 0
    assert zeros(sparse.graph, "g") == zeros(sparse.graph, "by") == 0
    assert sparse.history[-1].sparsity.zero_weights


@pytest.mark.parametrize(("globs", "pulled"), [(("wc",), {"wc"}), (("c", "y"), {"wc", "wy"}), ((), {"wa", "wc", "wy"})])
def test_l1_at_some_weights_leaves_the_others(globs: tuple[str, ...], pulled: set[str]) -> None:
    net = Network(network())
    before = {name: weight.detach().clone() for name, weight in net.weights.items()}
    Penalties(net, list(net.weights), Training(l1_weights=0.1, l1_at=globs, optimizer="adamw")).shrink(0.1)
    assert {name for name, weight in net.weights.items() if not torch.equal(weight, before[name])} == pulled
    with pytest.raises(PruneirError, match="l1_at: nothing is called 'wx'"):
        Penalties(net, list(net.weights), Training(l1_weights=0.1, l1_at=("wx",)))


def test_l2_and_weight_decay_make_weights_small() -> None:
    norms = {
        name: np.linalg.norm(trained(network(), epochs=3, **options).graph.initializers["wc"])
        for name, options in {
            "none": {"weight_decay": 0.0},
            "decay": {"weight_decay": 0.1},
            "l2": {"weight_decay": 0.0, "l2_weights": 0.1},
        }.items()
    }
    assert norms["decay"] == pytest.approx(norms["l2"], rel=1e-4)  # the same, with sgd
    assert norms["l2"] < 0.9 * norms["none"]


def test_only_matrices_decay_unless_all_shall() -> None:
    still = {"epochs": 1, "lr": 1e-2, "only": ("g",), "freeze_bn": True}
    plain, none = trained(network(), weight_decay=1.0, **still), trained(network(), weight_decay=0.0, **still)
    every = trained(network(), weight_decay=1.0, decay_all=True, **still)
    assert np.array_equal(plain.graph.initializers["g"], none.graph.initializers["g"])
    assert (every.graph.initializers["g"] < none.graph.initializers["g"]).all()


def test_zeros_stay_but_not_where_all_is_zero() -> None:
    graph = network()
    mask = np.random.default_rng(0).random((6, 8, 3, 3)) < 0.3
    graph.set_initializer("wc", (graph.initializers["wc"] * mask).astype(np.float32))
    graph.set_initializer("wy", np.zeros((6, 3), np.float32))
    kept, loose = trained(graph), trained(graph, keep_zeros=False)
    assert ((kept.graph.initializers["wc"] != 0) == mask).all()
    assert zeros(loose.graph, "wc") < 0.3 < (~mask).mean()
    assert zeros(kept.graph, "wy") < 0.5
    assert kept.notes == (f"{int((~mask).sum())} weights that are zero stay so, in 1 tensors",)
    assert trained(graph, epochs=1, freeze=("c",)).changed.isdisjoint({"wc"})


def test_masks_by_name() -> None:
    mask = np.arange(6)[:, None, None, None] < 4
    found = trained(network(), {"wc": mask}).graph.initializers["wc"]
    assert (found[4:] == 0).all()
    assert (found[:4] != 0).all()


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"nope": np.ones(3)}, "mask 'nope': the network trains no tensor"),
        ({"wc": np.ones(5)}, r"mask 'wc' is \[5\], which does not fit the tensor's \[6, 8, 3, 3\]"),
    ],
)
def test_masks_that_fit_nothing(masks: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(PruneirError, match=message):
        trained(network(), masks)


CUT = Plan().then({"wy": {0: np.arange(6)}}, {"wy": (24, 3)}, frozenset(), "cut")
DROPS = {
    "dropout of a whole layer": ({"dropout": 0.5}, Plan(), {"y": 0.5}),
    "after a cut": ({"dropout": 0.5}, CUT, {"y": 0.5 * sqrt(6 / 24)}),
    "not adjusted": ({"dropout": 0.5, "adjust_dropout": False}, CUT, {"y": 0.5}),
    "at a Conv": ({"dropout": 0.5, "dropout_at": ("w*",)}, CUT, {"a": 0.5, "c": 0.5, "y": 0.25}),
    "none": ({}, CUT, {}),
}


@pytest.mark.parametrize(("options", "plan", "expected"), DROPS.values(), ids=DROPS)
@pytest.mark.parametrize("opset", [11, 17])
def test_dropout_shrinks_as_connections_went(
    options: dict[str, Any], plan: Plan, expected: dict[str, float], opset: int
) -> None:
    from support.training import SOURCE

    graph = parse(SOURCE, opset=opset)
    trained_graph, ratios = with_dropout(graph, Training(**options), plan)
    assert ratios == pytest.approx(expected)
    assert sum(op.is_a("Dropout") for op in trained_graph.operators) == len(expected)
    x = {"x": torch.ones(2, 1, 6, 6)}
    net = Network(trained_graph)
    assert torch.equal(net.eval()(x)["y"], Network(graph).eval()(x)["y"])
    if expected:
        assert not torch.equal(net.train()(x)["y"], net(x)["y"])


def test_zeros_are_connections_that_went_and_the_graphs_own_dropout_shrinks() -> None:
    graph = parse("x[N,8] -> y[N,4] { d = Dropout(x, {0.4}); r = Relu(d); y = Gemm(r, w[8,4]) }")
    graph.set_initializer("w", (graph.initializers["w"] * (np.arange(8) % 4 == 0)[:, None]).astype(np.float32))
    assert with_dropout(graph, Training(), Plan())[1] == pytest.approx({"y": 0.4 * sqrt(1 / 4)})
    assert with_dropout(graph, Training(adjust_dropout=False), Plan())[1] == {}


def test_the_file_gets_no_dropout() -> None:
    fitted = trained(network(), dropout=0.3)
    assert [op.type for op in fitted.graph.operators] == [op.type for op in network().operators]
    assert list(fitted.graph.initializers) == list(network().initializers)
    assert fitted.notes == ("dropout 0.3 before y",)
