"""Shapes that onnx does not infer, or not as runtimes compute them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pruneir.graph import parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.shapes import infer

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
