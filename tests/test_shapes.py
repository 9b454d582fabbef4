"""Shapes of operators that onnx does not infer in the version that runtimes run."""

from __future__ import annotations

import pytest

from pruneir.graph import parse
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
