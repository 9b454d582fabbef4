"""`fold` on networks that round sizes: what acts at odd sizes alone stays."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.graph import Graph, parse
from pruneir.passes.fold import Fold
from pruneir.pipeline.checks import Checker
from pruneir.pipeline.passes import Result
from pruneir.shapes import infer, odd_points, two_sizes
from pruneir.verify import odd_feeds
from support.folding import assert_equal, fold

SIZES = [{"H": h, "W": w} for h, w in ((13, 15), (16, 32), (35, 64), (227, 229), (1501, 3))]
UPSAMPLED = (
    "x[N,3,H,W] -> y { h = Conv(x, a[8,3,1,1]); p = AveragePool(h, kernel_shape=[2,2], strides=[2,2]);"
    ' u = Resize(p, _, {1.0,1.0,2.0,2.0}, mode="nearest"); s = Shape(h);'
    ' v = Resize(u, _, _, s, mode="nearest"); y = Add(v, h) }'
)
CROPPED = (
    "x[N,3,H,4] -> y { h = Conv(x, a[8,3,1,1]); s = Shape(h); n = Gather(s, {2}, axis=0); q = Div(n, {16});"
    " r = Mul(q, {16}); y = Slice(h, {0}, r, {2}) }"
)
PADDED = (
    "x[2,3,H,4] -> y { s = Shape(x); n = Gather(s, {2}, axis=0); m = Add(n, {7}); q = Div(m, {8}); r = Mul(q, {8});"
    " t = Concat({2,3}, r, {4}, axis=0); y = Resize(x, _, _, t) }"
)
UNET = (
    "x[N,3,H,W] -> y { a = Conv(x, v[4,3,3,3], pads=[1,1,1,1]);"
    " b = MaxPool(a, kernel_shape=[2,2], strides=[2,2]); c = Conv(b, w[4,4,3,3], pads=[1,1,1,1]);"
    " d = MaxPool(c, kernel_shape=[2,2], strides=[2,2]); sc = Shape(c); sa = Shape(a);"
    ' e = Resize(d, _, {1.0,1.0,2.0,2.0}, mode="nearest"); f = Resize(e, _, _, sc, mode="nearest");'
    " g = Concat(f, c, axis=1); h = Conv(g, u[4,8,1,1]);"
    ' i = Resize(h, _, {1.0,1.0,2.0,2.0}, mode="nearest"); j = Resize(i, _, _, sa, mode="nearest");'
    " y = Concat(j, a, axis=1) }"
)
CLAMPED = "x[2,3,H,W] -> y { h = Conv(x, a[8,3,1,1]); y = Slice(h, {0}, {1000}, {2}) }"
ROUNDING = {"clamped": CLAMPED, "upsampled": UPSAMPLED, "cropped": CROPPED, "padded": PADDED, "U-Net": UNET}


@pytest.mark.parametrize("source", ROUNDING.values(), ids=ROUNDING)
def test_equal_at_odd_sizes(source: str) -> None:
    graph = parse(source)
    after = fold(graph).graph
    for sizes in SIZES:
        assert_equal(graph, after, sizes)


def test_what_keeps_every_size_goes() -> None:
    graph = parse('x[N,3,H,W] -> y { a = Relu(x); s = Shape(x); b = Resize(a, _, _, s, mode="nearest"); y = Relu(b) }')
    assert [operator.type for operator in fold(graph).graph.operators] == ["Relu", "Relu"]


DIVISIBLE = (
    "x[N,1,H,W] -> y { p = MaxPool(x, kernel_shape=[4,1], strides=[4,1]); c = Resize(p, _, {1.0,1.0,4.0,1.0});"
    " y = Add(c, x) }"
)


def test_multiples_where_nothing_odd_fits() -> None:
    graph = parse(DIVISIBLE)
    points = odd_points(graph, *two_sizes(graph))
    assert points
    for point in points:
        height, width = point.inputs["x"][2:]
        assert height % 4 == 0
        assert height % 8
        assert width % 2


def test_no_odd_points_without_symbols_but_the_batch() -> None:
    graph = parse("x[N,3,8,8] -> y { y = Relu(x) }")
    assert odd_points(graph, infer(graph), two_sizes(graph)[1]) == []
    assert odd_feeds(graph) == []


def test_check_at_odd_sizes() -> None:
    before = parse(CROPPED)
    after: Graph = parse("x[N,3,H,4] -> y { y = Conv(x, a[8,3,1,1]) }")
    after.initializers["a"] = before.initializers["a"]
    found = Checker(None, 0).check(Fold(), before, Result(after))
    assert found is not None
    assert not found.ok
    assert all(feeds["x"].shape[2] % 2 for feeds in odd_feeds(before))
    assert np.isinf(found.worst)
