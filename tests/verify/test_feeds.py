"""Random inputs: shapes that the network accepts, types that it declares, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.errors import PruneirError
from pruneir.graph import parse
from pruneir.onnx_io import session
from pruneir.verify import random_feeds

SHAPES = {
    "batch": ("x[N,3,8,8] -> y { y = Relu(x) }", {"x": (2, 3, 8, 8)}),
    "static": ("x[5,3] -> y { y = Relu(x) }", {"x": (5, 3)}),
    "an image size that fits": (
        "x[N,1,H,32] -> y { p = MaxPool(x, kernel_shape=[2,2], strides=[2,2]); f = Flatten(p);"
        " y = MatMul(f, w[256,4]) }",
        {"x": (2, 1, 32, 32)},
    ),
    "one symbol twice": ("x[N,T], z[N,T] -> y { y = Add(x, z) }", {"x": (2, 224), "z": (2, 224)}),
    "unnamed dimensions": ("x[?,4] -> y { y = Relu(x) }", {"x": (2, 4)}),
    "one sample only": ("x[N,4] -> y { t = Transpose(x); y = MatMul(t, w[1,3]) }", {"x": (1, 4)}),
    "a default": ("x[3], d[3] -> y { d{0.5,1.0,2.0}; y = Add(x, d) }", {"x": (3,)}),
}


@pytest.mark.parametrize(("source", "shapes"), SHAPES.values(), ids=SHAPES)
def test_shapes_fit(source: str, shapes: dict[str, tuple[int, ...]]) -> None:
    graph = parse(source)
    feeds = random_feeds(graph)
    assert {name: array.shape for name, array in feeds.items()} == shapes
    session(graph).run(None, feeds)


def test_types() -> None:
    graph = parse("a[64]:f16, b[64]:i64, c[64]:bool, d[64]:u8, e[64]:bf16, f[64]:str -> y { y = Relu(a) }")
    feeds = random_feeds(graph, seed=3)
    assert [array.dtype.name for array in feeds.values()] == ["float16", "int64", "bool", "uint8", "bfloat16", "object"]
    assert set(feeds["b"]) == set(feeds["d"]) == {0, 1}
    assert set(feeds["c"]) == {False, True}
    assert 0.5 < feeds["a"].std() < 1.5


def test_deterministic_by_name_and_seed() -> None:
    graph, other = parse("a[8], b[8] -> y { y = Add(a, b) }"), parse("b[8], a[8] -> y { y = Add(a, b) }")
    feeds = random_feeds(graph)
    assert not np.array_equal(feeds["a"], feeds["b"])
    assert not np.array_equal(feeds["a"], random_feeds(graph, seed=1)["a"])
    for name, array in random_feeds(other).items():
        np.testing.assert_array_equal(array, feeds[name])


def test_batch_and_sizes() -> None:
    graph = parse("x[N,3,H,W] -> y { y = Relu(x) }")
    assert random_feeds(graph, batch=5)["x"].shape[0] == 5
    assert random_feeds(graph, sizes={"x": (1, 3, 4, 6)})["x"].shape == (1, 3, 4, 6)


def test_no_shape() -> None:
    with pytest.raises(PruneirError, match=r"input 'x' has no shape.*--input-shape"):
        random_feeds(parse("x:? -> y { y = Relu(x) }"))
