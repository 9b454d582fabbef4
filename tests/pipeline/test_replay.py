from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pruneir
from pruneir.errors import PruneirError
from pruneir.graph import parse
from pruneir.pipeline import Plan
from pruneir.pipeline.replay import is_mask, masked_by, read_plan, require_plan_of
from pruneir.verify import compare, random_feeds

NET = "x[N,3] -> y { a = MatMul(x, w[3,4]); d = Div(a, s[4]); e = Add(d, s); y = MatMul(e, v[4,2]) }"


Axes = dict[str, dict[int, tuple[int, list[int]]]]


def plan(axes: Axes, changed: tuple[str, ...] = (), passes: tuple[str, ...] = ()) -> Plan:
    kept = {name: {a: (size, np.array(at)) for a, (size, at) in each.items()} for name, each in axes.items()}
    return Plan(kept, frozenset(changed), passes)


POSITIONS = {
    "beyond the end": (8, [0, 8], "axis 0 of 'w' keeps what are no ascending positions from 0 to 7"),
    "before the start": (8, [-1, 2], "no ascending positions"),
    "twice": (8, [1, 1], "no ascending positions"),
    "another order": (8, [3, 1], "no ascending positions"),
    "too large": (8, [10**30], "no ascending positions"),
    "half a position": (8, [0.5], "has no size and kept"),
    "yes and no": (8, [True, False], "has no size and kept"),
    "half a size": (8.5, [1], "has no size and kept"),
    "a size in words": ("8", [1], "has no size and kept"),
    "a position for a list": (8, 4, "has no size and kept"),
}
EDITED: dict[str, tuple[dict[str, Any], str]] = {
    "another schema": ({"schema": 2}, "its schema is 2, and this version reads 1"),
    "no schema": ({"schema": None}, "its schema is None"),
    "passes that are none": ({"passes": [3]}, "passes is no list of texts"),
    "a text for a list": ({"changed": "wa"}, "changed is no list of texts"),
    "a list for a table": ({"initializers": {"w": []}}, "the entry of 'w' is no table"),
    "a word for an axis": ({"initializers": {"w": {"a": {}}}}, "'a' is no axis of 'w'"),
    **{
        name: ({"initializers": {"w": {"0": {"size": size, "kept": kept}}}}, told)
        for name, (size, kept, told) in POSITIONS.items()
    },
}


@pytest.mark.parametrize(("change", "told"), EDITED.values(), ids=EDITED)
def test_a_plan_that_was_edited_is_told_what_is_wrong(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"schema": 1, "initializers": {}, "changed": [], "passes": [], **change}))
    with pytest.raises(PruneirError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}: not a plan, since ")
    assert told in str(caught.value)


def test_what_a_plan_cuts_is_zero_and_one_where_it_divides() -> None:
    graph = parse(NET)
    half: dict[int, tuple[int, list[int]]] = {0: (4, [0, 2])}
    cuts = plan({"w": {1: (4, [0, 2])}, "v": half, "s@d": half, "s@e": half})
    masked = masked_by(graph, cuts)
    assert not masked.initializers["w"][:, [1, 3]].any()
    assert not masked.initializers["v"][[1, 3]].any()
    np.testing.assert_array_equal(masked.initializers["w"][:, [0, 2]], graph.initializers["w"][:, [0, 2]])
    divisor, addend = (masked.initializers[op.inputs[1]] for op in masked.operators if op.is_a("Div", "Add"))
    np.testing.assert_array_equal(divisor[[1, 3]], 1)
    np.testing.assert_array_equal(addend[[1, 3]], 0)


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        (plan({"q": {0: (4, [0])}}), "the plan cuts 'q', which the network does not have"),
        (plan({"w": {1: (5, [0])}}), "5 positions on axis 1"),
        (plan({"w": {2: (4, [0])}}), "4 positions on axis 2"),
    ],
)
def test_a_plan_for_another_network(cuts: Plan, message: str) -> None:
    with pytest.raises(PruneirError, match=message):
        masked_by(parse(NET), cuts)


def test_which_plans_say_all() -> None:
    assert is_mask(plan({"w": {1: (4, [0])}}, passes=("slim{absorb=false}", "fold")))
    assert not is_mask(plan({"w": {1: (4, [0])}}, passes=("slim",)))
    assert not is_mask(plan({"w": {1: (4, [0])}}, ("v",), ("slim{absorb=false}",)))


def test_a_plan_has_the_sizes_of_both_networks() -> None:
    graph, small = parse(NET), parse(NET.replace("4", "2"))
    cuts = plan({"w": {1: (4, [0, 2])}, "s@d": {0: (4, [0, 2])}})
    require_plan_of(cuts, "p", ("a", graph), ("b", small))
    with pytest.raises(PruneirError, match=r"p is not a plan of b: 'w' is \[3, 2\]"):
        require_plan_of(cuts, "p", ("b", small), ("b", small))
    with pytest.raises(PruneirError, match="a is not what p leaves: 'w' is"):
        require_plan_of(cuts, "p", ("a", graph), ("a", graph))
    with pytest.raises(PruneirError, match="that has no 'q'"):
        require_plan_of(plan({"q": {0: (4, [0])}}), "p", ("a", graph), ("b", small))


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    for content in ("", "[]", "{}", '{"initializers": 3}', '{"initializers": {"a": 1}}'):
        path.write_text(content)
        with pytest.raises(PruneirError, match="not a plan"):
            read_plan(path)


def test_a_vector_that_multiplies_and_divides_is_masked_use_by_use() -> None:
    graph = parse(
        "x[N,3,4,4] -> y { h = Conv(x, w[8,3,1,1]); a = Mul(h, v[8,1,1]); r = Relu(a); d = Div(r, v); y = Conv(d, u[5,8,1,1]) }"
    )
    small = pruneir.optimize(graph, passes=["filter{ratio=0.5,absorb=false}"])
    [drift] = compare(small.graph, masked_by(graph, small.plan), random_feeds(graph))
    assert drift.equal


def test_quantized_weights_are_masked_to_their_zero_points() -> None:
    graph = parse(
        "x[N,3,4,4] -> y { w = DequantizeLinear(q[8,3,1,1]:i8, 0.05, 3:i8); h = Conv(x, w); r = Relu(h)"
        "; v = DequantizeLinear(p[5,8,1,1]:i8, s[5], z[5]:i8, axis=0); y = Conv(r, v) }"
    )
    small = pruneir.optimize(graph, passes=["filter{ratio=0.5,absorb=false}"])
    [drift] = compare(small.graph, masked_by(graph, small.plan), random_feeds(graph))
    assert drift.equal
    assert not compare(graph, masked_by(graph, small.plan), random_feeds(graph))[0].equal
