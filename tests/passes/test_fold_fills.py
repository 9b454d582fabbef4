"""Constants that a batch spreads: `fold` fills what does not vary first, and the channels can be cut."""

from __future__ import annotations

import pytest

import pruneir
from pruneir.graph import parse
from support.folding import assert_left, fold
from support.properties import assert_pruned_equals_masked

SIZE = "s = Shape(x); n = Gather(s, {0}); t = Concat(n, "
TO_CONV = "; y = Conv(c, v[4,10,1,1]) }"
# graph, operators left, channels of each group
CASES = {
    "zeros that widen a shortcut": (
        "x[N,3,8,8] -> y { a = Conv(x, w[6,3,1,1]); " + SIZE + "{4}, {8}, {8}, axis=0); z = ConstantOfShape(t)"
        "; k = Concat(a, z, axis=1); b = Conv(a, u[10,6,1,1]); c = Add(b, k)" + TO_CONV,
        "Add Concat Concat Conv Conv Conv Expand Shape",
        [6, 4],
    ),
    "of any image": (
        "x[N,3,H,W] -> y { a = Conv(x, w[6,3,1,1]); s = Shape(a); n = Gather(s, {0}); h = Gather(s, {2}); i = Gather(s, {3})"
        "; t = Concat(n, {4}, h, i, axis=0); z = Expand(0.5, t); c = Concat(a, z, axis=1)" + TO_CONV,
        "Concat Concat Conv Conv Expand Shape Shape Shape",
        [6, 4],
    ),
    "too many numbers to store": (
        "x[N,3,64,64] -> y { a = Conv(x, w[6,3,1,1]); " + SIZE + "{4}, {64}, {64}, axis=0); z = ConstantOfShape(t)"
        "; c = Concat(a, z, axis=1)" + TO_CONV,
        "Concat Concat Conv Conv Expand Expand Shape",
        [6, 4],
    ),
    "a class token": (
        "x[N,5,3] -> y { a = MatMul(x, w[3,6]); " + SIZE + "{1}, {6}, axis=0); z = Expand(e[1,1,6], t)"
        "; c = Concat(z, a, axis=1); y = MatMul(c, v[6,4]) }",
        "Concat Concat Expand MatMul MatMul Shape",
        [6],
    ),
    "a state that is read twice": (
        "x[N,3] -> y { a = MatMul(x, w[3,6]); "
        + SIZE
        + "{6}, axis=0); h = ConstantOfShape(t, value={0.5}); g = Sigmoid(a)"
        "; m = Mul(g, h); k = Concat(m, h, axis=1); y = MatMul(k, v[12,4]) }",
        "Concat Concat Expand MatMul MatMul Mul Shape Sigmoid",
        [6],
    ),
    "integers": (
        "x[N,3] -> y { " + SIZE + "{3}, axis=0); i = ConstantOfShape(t, value={0}); y = ScatterElements(x, i, x) }",
        "Concat ConstantOfShape ScatterElements Shape",
        [],
    ),
}


@pytest.mark.parametrize(("source", "left", "channels"), CASES.values(), ids=CASES)
def test_what_a_batch_spreads(source: str, left: str, channels: list[int]) -> None:
    assert_left("opset 16; " + source, left)
    folded = fold(parse("opset 16; " + source)).graph
    if channels:
        made = pruneir.optimize(parse("opset 16; " + source), passes=["filter{ratio=0.5,absorb=false}"])
        assert made.ok
        assert set(made.plan.kept) <= {"e", "u", "v", "w"}, "the plan has the parameters of the input alone"
        assert [len(group) for group in assert_pruned_equals_masked(folded).groups] == channels
