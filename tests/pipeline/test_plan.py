"""A plan speaks the input file's names and indices, whatever the chain of passes."""

from __future__ import annotations

import numpy as np
import pytest

import pruneir
from pruneir.graph import parse
from pruneir.pipeline import Plan

NET = (
    "x[N,3,8,8] -> y { a = Conv(x, w[12,3,3,3]); n = BatchNormalization(a, s[12], b[12], m[12], v[12]); r = Relu(n)"
    "; c = Conv(r, u[6,12,1,1], d[6]); y = Conv(c, z[2,6,1,1]) }"
)

# passes → axes that every tensor loses positions on
CHAINS = {
    ("filter",): {"w": [0], "s": [0], "b": [0], "m": [0], "v": [0], "u": [0, 1], "d": [0], "z": [1]},
    ("fold-bn", "filter"): {"w": [0], "s": [0], "b": [0], "m": [0], "v": [0], "u": [0, 1], "d": [0], "z": [1]},
    ("filter", "fold-bn"): {"w": [0], "s": [0], "b": [0], "m": [0], "v": [0], "u": [0, 1], "d": [0], "z": [1]},
    ("filter{ratio=0.25}", "filter{ratio=0.5}"): {
        "w": [0], "s": [0], "b": [0], "m": [0], "v": [0], "u": [0, 1], "d": [0], "z": [1],
    },
    ("fold-bn",): {},
}  # fmt: skip


@pytest.mark.parametrize(("passes", "cut"), CHAINS.items(), ids=map("+".join, CHAINS))
def test_names_and_sizes_of_the_input(passes: tuple[str, ...], cut: dict[str, list[int]]) -> None:
    graph = parse(NET)
    small = pruneir.optimize(graph, passes=list(passes))
    plan = small.plan.to_json()["initializers"]
    assert {name: [int(a) for a in axes] for name, axes in plan.items()} == cut
    for name, axes in plan.items():
        for axis, entry in axes.items():
            assert entry["size"] == graph.initializers[name].shape[int(axis)]
            if name in small.graph.initializers:
                assert len(entry["kept"]) == small.graph.initializers[name].shape[int(axis)]
    if cut:
        assert all(plan[name]["0"] == plan["w"]["0"] for name in "sbmv")


def test_cuts_compose() -> None:
    first = Plan().then({"w": {0: np.array([1, 3, 5, 7])}}, {"w": (8, 2)}, frozenset(), "one")
    second = first.then({"w": {0: np.array([0, 3])}}, {"w": (4, 2)}, frozenset(), "two")
    assert second.to_json()["initializers"] == {"w": {"0": {"size": 8, "kept": [1, 7]}}}
    assert Plan.from_json(second.to_json()).to_json() == second.to_json()
