"""A network that magnifies rounding equals one that is about as far off as its own last bits make it."""

from __future__ import annotations

import numpy as np
import pytest

import pruneir
from pruneir.graph import Graph, parse
from pruneir.verify import verify

NORM = "x[N,16,4,4] -> y[N,4,4,4] { a = Conv(x, w[4,16,1,1]); y = BatchNormalization(a, g[4], b[4], m[4], v[4]) }"


def magnifying(spread: float) -> tuple[Graph, dict[str, np.ndarray]]:
    """A BatchNormalization that takes nearly all of its input away and magnifies what is left; and samples."""
    graph = parse(NORM)
    graph.set_initializer("w", np.abs(graph.initializers["w"]) + 0.5)
    mean = graph.initializers["w"].sum(axis=(1, 2, 3))
    values = {"m": mean, "v": np.zeros(4), "g": np.full(4, 0.1), "b": np.zeros(4)}
    for name, array in values.items():
        graph.set_initializer(name, array.astype(np.float32))
    x = 1 + np.random.default_rng(0).normal(0, spread, (32, 16, 4, 4))
    return graph, {"x": x.astype(np.float32)}


@pytest.mark.parametrize(("spread", "rounding"), [(0.5, False), (0.001, True)])
def test_folding_is_as_exact_as_the_network_is(spread: float, rounding: bool) -> None:
    graph, arrays = magnifying(spread)
    made = pruneir.optimize(graph, ["fold-bn"], data=arrays)
    check = made.outcome.records[-1].check
    assert check is not None
    assert made.ok
    assert (check.worst > check.tolerance) is rounding
    (drift,) = check.outputs
    assert (drift.rounding > 0) is rounding
    assert made.report["passes"][-1]["check"]["outputs"][0]["rounding"] == drift.rounding
    if rounding:
        assert drift.difference <= 4 * drift.rounding


@pytest.mark.parametrize("spread", [0.5, 0.001])
def test_what_is_further_off_differs(spread: float) -> None:
    graph, arrays = magnifying(spread)
    other = graph.copy()
    other.set_initializer("g", graph.initializers["g"] * np.float32(1 + 2e-2))
    assert not verify(graph, other, arrays).ok


def test_what_says_nothing_differs() -> None:
    graph, arrays = magnifying(1e-6)  # the output is rounding alone
    assert not verify(graph, pruneir.optimize(graph, ["fold-bn"], data=arrays, verify=False).graph, arrays).ok
