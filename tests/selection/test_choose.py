"""Budgets become channels: ratios, scopes, caps, multiples, and blocks × positions."""

from __future__ import annotations

import numpy as np
import pytest

import pruneir
from pruneir.coupling import Group, couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.selection import Budget, choose, weight_scores
from pruneir.selection.choose import Removed

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


def test_macs_are_met_with_the_smallest_cut() -> None:
    for share in (0.9, 0.7, 0.5, 0.3):
        report = pruneir.optimize(parse(CHAIN), passes=[f"filter{{macs={share},scope=global}}"], verify=False).report
        left = report["macs"]["after"] / report["macs"]["before"]
        assert share - 0.08 < left <= share


def test_out_of_reach() -> None:
    with pytest.raises(PruneirError, match="macs=0.001 is out of reach"):
        pruneir.optimize(parse(CHAIN), passes=["filter{macs=0.001}"])
