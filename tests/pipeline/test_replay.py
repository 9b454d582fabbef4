from __future__ import annotations

from pathlib import Path

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
