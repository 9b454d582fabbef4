"""Shapes that onnx does not infer, or not as runtimes compute them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pruneir.coupling import couple
from pruneir.errors import PruneirError
from pruneir.graph import parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.shapes import infer, two_sizes, with_input_shapes

LIKE_INPUT = {
    "group normalization of opset 18": "opset 18; x[2,4,3,3] -> y { y = GroupNormalization(x, s[2], b[2], num_groups=2) }",
    "an operator of ONNX Runtime alone": "x[2,3,4] -> y { y = SimplifiedLayerNormalization(x, s[4], axis=-1) }",
}


@pytest.mark.parametrize("source", LIKE_INPUT.values(), ids=LIKE_INPUT)
def test_what_is_like_its_input(source: str) -> None:
    shapes = infer(parse(source))
    assert shapes.failures == {}
    assert shapes.shape("y") == shapes.shape("x")


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool", "LpPool"])
def test_windows_of_a_pool_that_rounds_up(pool: str) -> None:
    """As ONNX Runtime counts them: none begins in the padding behind the image."""
    for size, kernel, stride, begin, end in product((5, 8, 9), (2, 3), (2, 3), (0, 1), (0, 1)):
        options = f"kernel_shape=[{kernel}], strides=[{stride}], pads=[{begin},{end}], ceil_mode=1"
        graph = parse(f"opset 19; x[1,1,{size}] -> y {{ y = {pool}(x, {options}) }}")
        computed = next(iter(evaluate(graph, ["y"], [{"x": np.ones((1, 1, size), np.float32)}])))["y"]
        assert infer(graph).shape("y") == computed.shape, options


ONE = {
    "reshape": "x[1,6,4,4] -> y { t = Transpose(x, perm=[0,2,3,1]); y = Reshape(t, {1,32,3}) }",
    "reshape, one entry open": "x[1,6,4,4] -> y { y = Reshape(x, {1,-1}) }",
    "channels of zeros": "x[1,3,4,4] -> y { s = ConstantOfShape({1,2,4,4}); y = Concat(x, s, axis=1) }",
    "channels of zeros, before Pad had inputs": (
        "opset 9; x[1,3,4,4] -> y { s = ConstantOfShape({1,2,4,4}); y = Concat(s, x, axis=1) }"
    ),
    "zeros on both sides": (
        "x[1,3,4] -> y { s = ConstantOfShape({1,3,2}); t = ConstantOfShape({1,3,1}); y = Concat(s, x, t, t, axis=-1) }"
    ),
}


@pytest.mark.parametrize("source", ONE.values(), ids=ONE)
def test_a_batch_of_one_becomes_any(source: str) -> None:
    graph = parse(source)
    free = with_input_shapes(graph, {"x": ("N", *graph.type_of("x").shape[1:])})  # type: ignore[union-attr,index]
    assert {found.shape("y")[0] for found in two_sizes(free)} == {13, 17}  # type: ignore[index]
    x = np.random.default_rng(0).standard_normal((3, *infer(graph).shape("x")[1:])).astype(np.float32)  # type: ignore[index]
    together = next(iter(evaluate(free, ["y"], [{"x": x}])))["y"]
    alone = [found["y"].copy() for found in evaluate(graph, ["y"], [{"x": x[i : i + 1]} for i in range(3)])]
    np.testing.assert_array_equal(together, np.concatenate(alone))


STUCK = {
    "rows apart": "x[1,3,4] -> y { r = Reshape(x, {3,4}); m = Relu(r); y = Reshape(m, {1,3,4}) }",
    "a constant beside it": "x[1,3,4] -> y { y = Concat(x, c[1,2,4], axis=1) }",
}


@pytest.mark.parametrize("source", STUCK.values(), ids=STUCK)
def test_a_batch_that_cannot_be_free_is_refused(source: str) -> None:
    with pytest.raises(PruneirError, match="'x' takes one sample at a time: with two, at node"):
        with_input_shapes(parse(source), {"x": ("N", 3, 4)})


@pytest.mark.parametrize(
    ("opset", "squeezed"), [(9, "c, axes=[0]"), (12, "c, axes=[0]"), (13, "c, {0}")], ids=["9", "12", "13"]
)
def test_shapes_are_computed_as_the_operator_set_defines(opset: int, squeezed: str) -> None:
    graph = parse(
        f"opset {opset}; x[2,3,8,8] -> y {{ s = Shape(x); c = Gather(s, {{0}}); a = Squeeze({squeezed});"
        f" u = Unsqueeze({squeezed.replace('c', 'a', 1)}); t = Concat(u, {{-1}}, axis=0); y = Reshape(x, t) }}"
    )
    assert infer(graph).shape("y") == (2, 192)


def test_texts_are_values_like_any_others() -> None:
    graph = parse("x[2,3] -> y, labels { y = Relu(x); a = Identity(names[1]); labels = Concat(a, names, axis=0) }")
    graph.set_initializer("names", np.array(["a cat"], object))
    assert infer(graph).shape("labels") == (2,)
    assert couple(graph).generators.locks
