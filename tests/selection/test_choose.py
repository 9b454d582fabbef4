"""Budgets become channels: ratios, scopes, caps, multiples, and blocks × positions."""

from __future__ import annotations

import numpy as np
import pytest

import pruneir
from pruneir.coupling import Group, couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.selection import Budget, batchnorm_scale, choose, weight_scores
from pruneir.selection.choose import Removed
from pruneir.selection.gates import gates

CHAIN = "x[N,3,8,8] -> y { a = Conv(x, w1[16,3,3,3]); b = Conv(a, w2[32,16,1,1]); c = Conv(b, w3[10,32,1,1]); y = Conv(c, w4[4,10,1,1]) }"
GROUPED = "x[N,3,8,8] -> y { a = Conv(x, w1[32,3,1,1]); c = Conv(a, g[32,8,3,3], group=4); y = Conv(c, w2[4,32,1,1]) }"


def cut(removed: Removed) -> dict[str, int]:
    return {group.name: len(channels) for group, channels in removed.items()}


def groups_of(text: str) -> tuple[list[Group], dict[Group, np.ndarray]]:
    coupling = couple(parse(text))
    scores = weight_scores(coupling, coupling.groups)
    return coupling.groups, scores


# budget → channels cut of a (16), b (32), c (10)
BUDGETS = {
    "local": (Budget(ratio=0.5, scope="local"), {"a": 8, "b": 16, "c": 5}),
    "floor of the share": (Budget(ratio=0.33, scope="local"), {"a": 5, "b": 10, "c": 3}),
    "nothing": (Budget(ratio=0.0, scope="local"), {}),
    "capped": (Budget(ratio=1.0, scope="local", max_per_group=0.75), {"a": 12, "b": 24, "c": 7}),
    "one channel stays": (Budget(ratio=1.0, scope="local", max_per_group=1.0), {"a": 15, "b": 31, "c": 9}),
    "kept counts round up": (Budget(ratio=0.5, scope="local", multiple=8), {"a": 8, "b": 16, "c": 2}),
    "a multiple larger than the group": (Budget(ratio=0.5, scope="local", multiple=16), {"b": 16}),
}


@pytest.mark.parametrize(("budget", "expected"), BUDGETS.values(), ids=BUDGETS)
def test_budgets(budget: Budget, expected: dict[str, int]) -> None:
    _, scores = groups_of(CHAIN)
    assert cut(choose(scores, budget)) == expected


def test_a_global_threshold_cuts_the_lowest_of_all() -> None:
    groups, _ = groups_of(CHAIN)
    scores = {group: np.arange(len(group)) + 100.0 * index for index, group in enumerate(groups)}
    removed = choose(scores, Budget(ratio=0.5, scope="global"))
    assert cut(removed) == {"a": 14, "b": 13}, "29 of 58 are below the threshold; a keeps a tenth"
    assert all(np.array_equal(channels, np.arange(len(channels))) for channels in removed.values())


def test_a_ratio_of_its_own() -> None:
    groups, scores = groups_of(CHAIN)
    removed = choose(scores, Budget(ratio=0.5, scope="local", ratios={groups[1]: 0.25}))
    assert cut(removed) == {"a": 8, "b": 8, "c": 5}


# target's multiple → positions left in each of four blocks
@pytest.mark.parametrize(("multiple", "left"), [(1, 4), (4, 4), (8, 4), (16, 4), (32, 8)])
def test_multiples_are_of_the_whole_axis(multiple: int, left: int) -> None:
    groups, scores = groups_of(GROUPED)
    positions = {group: score for group, score in scores.items() if not group.positions}
    assert [len(group) for group in groups] == [4, 8, 8]
    removed = choose(positions, Budget(ratio=0.5, scope="local", multiple=multiple))
    assert {8 - len(removed.get(group, ())) for group in positions} == {left}


def sliced(graph: Graph, spec: str) -> tuple[int, tuple[int, ...]]:
    small = pruneir.optimize(graph, passes=[spec])
    assert small.ok
    conv = small.graph.producer("c")
    assert conv is not None
    return conv.attribute("group", 1), small.graph.initializers["g"].shape


def test_either_of_blocks_and_positions() -> None:
    graph = parse(GROUPED)
    assert sliced(graph, "filter{ratio=0.5}") == (4, (16, 4, 3, 3))
    assert sliced(graph, "filter{ratio=0.5,pairs=blocks}") == (2, (16, 8, 3, 3))


# 32 channels, each filtered twice, and each of these twice again
MULTIPLIED = (
    "x[N,3,8,8] -> y { a = Conv(x, w1[32,3,1,1]); d = Conv(a, g[64,1,3,3], group=32); e = Conv(d, k[128,1,3,3], group=64)"
    "; y = Conv(e, w2[4,128,1,1]) }"
)


def test_blocks_go_where_they_are_channels_of_their_own() -> None:
    small = pruneir.optimize(parse(MULTIPLIED), passes=["filter{ratio=0.3}"])
    assert small.ok
    shapes = {name: small.graph.initializers[name].shape[:2] for name in ("w1", "g", "k", "w2")}
    assert shapes == {"w1": (23, 3), "g": (46, 1), "k": (92, 1), "w2": (4, 92)}
    notes = [row["note"] for row in small.report["groups"]]
    assert notes == ["", *["its positions stay, since whole blocks go (a)"] * 2]


def test_macs_are_met_with_the_smallest_cut() -> None:
    for share in (0.9, 0.7, 0.5, 0.3):
        report = pruneir.optimize(parse(CHAIN), passes=[f"filter{{macs={share},scope=global}}"], verify=False).report
        left = report["macs"]["after"] / report["macs"]["before"]
        assert share - 0.08 < left <= share


def test_out_of_reach() -> None:
    with pytest.raises(PruneirError, match="macs=0.001 is out of reach"):
        pruneir.optimize(parse(CHAIN), passes=["filter{macs=0.001}"])


# name: (graph, tensors whose numbers say how much a channel is scaled, those that a gate would scale)
SCALES = {
    "batch norm": (
        "x[N,3,8,8] -> y { a = Conv(x, w[8,3,1,1]); n = BatchNormalization(a, g[8], b[8], m[8], v[8]); y = Conv(n, u[4,8,1,1]) }",
        ["g"],
        ["g"],
    ),
    "none": ("x[N,3,8,8] -> y { a = Conv(x, w[8,3,1,1], b[8]); y = Conv(a, u[4,8,1,1]) }", [], ["w"]),
    "steps of weights": (
        "x[N,3,8,8] -> y { w = DequantizeLinear(q[8,3,1,1]:i8, s[8], z[8]:i8, axis=0); a = Conv(x, w); y = Conv(a, u[4,8,1,1]) }",
        [],
        ["s"],
    ),
    "steps of activations": (
        "x[N,3,8,8] -> y { a = Conv(x, w[8,3,1,1]); q = QuantizeLinear(a, s[8], z[8]:i8, axis=1); d = DequantizeLinear(q, t[8], z, axis=1)"
        "; y = Conv(d, u[4,8,1,1]) }",
        [],
        ["w"],
    ),
    "steps of an integer convolution": (
        "x[N,3,8,8] -> y { q = QuantizeLinear(x, 0.05, 3:i8); a = QLinearConv(q, 0.05, 3:i8, w[8,3,1,1]:i8, s[8], z[8]:i8, 2.0, 5:i8)"
        "; d = DequantizeLinear(a, 2.0, 5:i8); y = Conv(d, u[4,8,1,1]) }",
        [],
        ["s"],
    ),
}


@pytest.mark.parametrize(("text", "scales", "gated"), SCALES.values(), ids=SCALES)
def test_steps_of_quantization_are_no_scales(text: str, scales: list[str], gated: list[str]) -> None:
    coupling = couple(parse(text))
    [group] = coupling.groups
    found = batchnorm_scale(coupling, [group])
    assert len(found) == len(scales)
    for name in scales:
        np.testing.assert_allclose(found[group], np.abs(coupling.graph.initializers[name]))
    assert [member.use.name for member in gates(coupling, group)] == gated


def test_quantized_weights_are_kept_by_the_name_of_what_they_become() -> None:
    graph = parse(
        "x[N,3,8,8] -> y { w = DequantizeLinear(q[8,3,1,1]:i8, s[8], axis=0); a = Conv(x, w)"
        "; v = DequantizeLinear(p[8,3,1,1]:i8, t[8], axis=0); b = Conv(x, v); c = Add(a, b); y = Conv(c, u[4,8,1,1]) }"
    )
    small = pruneir.optimize(graph, passes=["filter{ratio=0.5}"], keep=["v"])
    assert [row["note"] for row in small.report["groups"]] == ["kept by --keep"]
