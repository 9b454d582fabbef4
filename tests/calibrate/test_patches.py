"""Patches: an operator is its matrix times them, in ONNX Runtime's eyes too."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.calibrate import chosen, is_linear, matrix, patches
from pruneir.graph import parse
from pruneir.onnx_io import evaluate
from support.properties import feeds

OPERATORS = {
    "conv": "x[N,3,7,6] -> y { y = Conv(x, w[8,3,3,2]) }",
    "1-D": "x[N,3,9] -> y { y = Conv(x, w[8,3,3], pads=[1,2], strides=[2]) }",
    "3-D": "x[N,2,4,5,6] -> y { y = Conv(x, w[4,2,3,2,1], pads=[1,0,0,1,1,0]) }",
    "pads, strides, dilations": (
        "x[N,3,9,8] -> y { y = Conv(x, w[4,3,3,2], pads=[2,0,1,1], strides=[2,3], dilations=[2,1]) }"
    ),
    "same upper": 'x[N,3,7,8] -> y { y = Conv(x, w[4,3,3,4], auto_pad="SAME_UPPER", strides=[2,3]) }',
    "same lower": 'x[N,3,7,8] -> y { y = Conv(x, w[4,3,2,4], auto_pad="SAME_LOWER") }',
    "valid": 'x[N,3,7,8] -> y { y = Conv(x, w[4,3,2,4], auto_pad="VALID", strides=[2,2]) }',
    "grouped": "x[N,6,5,5] -> y { y = Conv(x, w[8,3,3,3], group=2, pads=[1,1,1,1]) }",
    "depthwise": "x[N,6,5,5] -> y { y = Conv(x, w[12,1,3,3], group=6) }",
    "transposed": "x[N,3,4,5] -> y { y = ConvTranspose(x, w[3,8,3,2]) }",
    "transposed, strides, pads": (
        "x[N,3,4,5] -> y { y = ConvTranspose(x, w[3,8,3,4], strides=[2,3], pads=[1,0,1,2], output_padding=[1,0]) }"
    ),
    "transposed, dilations, groups": "x[N,4,4,5] -> y { y = ConvTranspose(x, w[4,3,3,2], dilations=[2,1], group=2) }",
    "transposed, cropped": "x[N,3,6,6] -> y { y = ConvTranspose(x, w[3,4,2,2], pads=[2,2,1,1]) }",
    "transposed, a shape": "x[N,3,4,4] -> y { y = ConvTranspose(x, w[3,4,3,3], strides=[2,2], output_shape=[8,8]) }",
    "transposed, same": 'x[N,3,4,4] -> y { y = ConvTranspose(x, w[3,4,3,3], strides=[2,2], auto_pad="SAME_UPPER") }',
    "gemm": "x[N,5] -> y { y = Gemm(x, w[5,8]) }",
    "gemm, transposed": "x[5,7] -> y { y = Gemm(x, w[8,5], transA=1, transB=1, alpha=0.5) }",
    "matmul": "x[N,5] -> y { y = MatMul(x, w[5,8]) }",
    "matmul, rank 4": "x[N,2,3,5] -> y { y = MatMul(x, w[5,8]) }",
}


@pytest.mark.parametrize("positions", [None, 4, 1000])
@pytest.mark.parametrize("text", OPERATORS.values(), ids=OPERATORS)
def test_an_operator_is_its_matrix_times_its_patches(text: str, positions: int | None) -> None:
    graph = parse(text)
    (operator,) = graph.operators
    given = feeds(graph, 3)
    (y,) = (values["y"] for values in evaluate(graph, ["y"], [given]))
    weights = graph.constant(operator.inputs[1])
    assert weights is not None
    rows = patches(operator, graph, given["x"], positions, np.random.default_rng(1))
    channels = y.ndim - 1 if operator.is_a("Gemm", "MatMul") else 1
    spatial = tuple(axis for axis in range(1, y.ndim) if axis != channels)
    expected = chosen(y, spatial, positions, np.random.default_rng(1)).reshape(-1, y.shape[channels])
    made = np.einsum("gof,grf->rgo", matrix(operator, weights), rows).reshape(len(expected), -1)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))
    if positions == 4 and spatial:
        assert len(expected) == 3 * min(4, int(np.prod([y.shape[axis] for axis in spatial])))


NOT_LINEAR = {
    "weights at run time": "x[N,3,6,6], w[4,3,1,1] -> y { y = Conv(x, w) }",
    "a matrix for each sample": "x[N,4,5] -> y { y = MatMul(x, w[2,5,3]) }",
    "no weights": "x[N,4] -> y { y = Relu(x) }",
}


@pytest.mark.parametrize("text", NOT_LINEAR.values(), ids=NOT_LINEAR)
def test_what_has_no_constant_matrix_is_refused(text: str) -> None:
    graph = parse(text)
    (operator,) = graph.operators
    assert not is_linear(operator, graph)
    with pytest.raises(ValueError, match="no constant matrix"):
        patches(operator, graph, np.zeros((2, 4, 5), np.float32), None, np.random.default_rng(0))
