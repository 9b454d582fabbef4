"""The learning rate that nobody gave, and training that made a network worse."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.data import Data, from_arrays  # noqa: E402
from pruneir.graph import Graph, parse  # noqa: E402
from pruneir.training.fit import fit  # noqa: E402
from pruneir.training.options import Training  # noqa: E402

SOURCE = "x[N,4] -> y[N,1] { y = Gemm(x, w[4,1]) }"
SIZES = {"as usual": (1.0, False), "steep": (10.0, True), "very steep": (60.0, True)}
"""Of the inputs, and whether the usual rate is too high for them."""


def regression(size: float) -> tuple[Graph, Data]:
    random = np.random.default_rng(0)
    x = (size * random.standard_normal((32, 4))).astype(np.float32)
    graph = parse(SOURCE)
    w = np.array([[1.0], [-2.0], [0.5], [0.1]], np.float32)
    graph.set_initializer("w", w + 0.1)
    return graph, from_arrays({"x": x, "y0": x @ w}, graph, labels="y0")


@pytest.mark.parametrize(("size", "steep"), SIZES.values(), ids=SIZES)
def test_a_rate_that_nobody_gave_is_one_the_network_bears(size: float, steep: bool) -> None:
    graph, data = regression(size)
    options = {"epochs": 8, "batch": 16, "weight_decay": 0.0, "clip": 0.0, "schedule": "constant", "threads": 1}
    fitted = fit(graph, Training(**options), data)  # type: ignore[arg-type]
    usual = fit(graph, Training(**options, lr=0.01, choose="last"), data)  # type: ignore[arg-type]
    assert fitted.after.loss < fitted.before.loss
    assert (usual.failed or usual.after.loss > usual.before.loss) == steep
    assert (fitted.history[0].rate < 0.01) == steep
    assert any("raises the loss" in note for note in fitted.notes) == steep


def test_trying_leaves_no_trace() -> None:
    graph, data = regression(1.0)
    tried, given = (fit(graph, Training(epochs=2, lr=lr, threads=1), data) for lr in (None, 0.01))
    assert np.array_equal(tried.graph.initializers["w"], given.graph.initializers["w"])
    assert [epoch.loss for epoch in tried.history] == [epoch.loss for epoch in given.history]


@pytest.mark.parametrize(("choose", "chosen"), {"auto": 0, "last": 2}.items())
def test_what_training_made_worse_is_not_the_result(choose: str, chosen: int) -> None:
    graph, data = regression(10.0)
    fitted = fit(graph, Training(epochs=2, batch=32, lr=0.1, choose=choose, threads=1), data)  # type: ignore[arg-type]
    assert fitted.chosen == chosen
    assert bool(fitted.changed) == bool(chosen)
    assert (fitted.after.loss <= fitted.before.loss) == (not chosen)
    assert any("training made it worse" in note for note in fitted.notes) == (not chosen)


def test_any_seed_may_be_given() -> None:
    graph, data = regression(1.0)
    assert fit(graph, Training(epochs=1, threads=1), data, seed=2**70).history
