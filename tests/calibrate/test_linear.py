"""A linear operator is its matrix times what each output position sees of the input."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.calibrate.linear import Matrix, Rows, matrix_of
from pruneir.calibrate.patches import drawn, patches
from pruneir.graph import parse
from pruneir.onnx_io import evaluate
from support.properties import feeds

CASES = {
    "pointwise": "x[N,4,5,6] -> y { y = Conv(x, w[3,4,1,1]) }",
    "padded unevenly": "x[N,4,9,7] -> y { y = Conv(x, w[6,4,3,2], pads=[1,0,2,1], strides=[2,1]) }",
    "dilated": "x[N,2,9,9] -> y { y = Conv(x, w[6,2,3,3], pads=[2,2,2,2], dilations=[2,3]) }",
    "same upper": 'x[N,2,7,8] -> y { y = Conv(x, w[6,2,2,4], auto_pad="SAME_UPPER", strides=[2,3]) }',
    "same lower": 'x[N,2,7,8] -> y { y = Conv(x, w[6,2,2,4], auto_pad="SAME_LOWER", strides=[2,3]) }',
    "valid": 'x[N,2,7,8] -> y { y = Conv(x, w[6,2,3,3], auto_pad="VALID") }',
    "grouped": "x[N,6,5,5] -> y { y = Conv(x, w[9,2,3,3], group=3, pads=[1,1,1,1]) }",
    "depthwise": "x[N,6,5,5] -> y { y = Conv(x, w[6,1,3,3], group=6, pads=[1,1,1,1]) }",
    "1-D": "x[N,4,11] -> y { y = Conv(x, w[6,4,3], pads=[2,0], strides=[2]) }",
    "3-D": "x[N,2,4,5,6] -> y { y = Conv(x, w[3,2,2,3,1], pads=[1,1,0,0,1,0]) }",
    "transposed": "x[N,4,5,6] -> y { y = ConvTranspose(x, w[4,3,3,3], strides=[2,3], pads=[1,0,1,1]) }",
    "transposed, dilated, in groups": "x[N,4,5,6] -> y { y = ConvTranspose(x, w[4,3,3,2], strides=[2,1], dilations=[1,2], group=2, output_padding=[1,0]) }",
    "transposed, cropped": "x[N,3,6,6] -> y { y = ConvTranspose(x, w[3,4,2,2], pads=[2,2,1,1]) }",
    "transposed, a shape": "x[N,3,4,4] -> y { y = ConvTranspose(x, w[3,4,3,3], strides=[2,2], output_shape=[8,8]) }",
    "transposed, same": 'x[N,3,4,4] -> y { y = ConvTranspose(x, w[3,4,3,3], strides=[2,2], auto_pad="SAME_UPPER") }',
    "gemm": "x[N,7] -> y { y = Gemm(x, w[7,3], alpha=0.5) }",
    "gemm, transposed": "x[7,5] -> y { y = Gemm(x, w[3,7], transA=1, transB=1, alpha=2.0) }",
    "a vector": "x[7] -> y { y = MatMul(x, w[7,5]) }",
    "matmul": "x[N,4,3,7] -> y { y = MatMul(x, w[7,5]) }",
}


@pytest.mark.parametrize("positions", [None, 4, 1000])
@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_patches_are_rows_of_some_positions(text: str, positions: int | None) -> None:
    graph = parse(text)
    (operator,) = graph.operators
    matrix, given = matrix_of(graph, operator), feeds(graph, 3)
    assert isinstance(matrix, Matrix)
    (found,) = (values["y"] for values in evaluate(graph, ["y"], [given]))
    axis = matrix.axis(found.ndim)
    sizes = found.shape[:axis] + found.shape[axis + 1 :] or (1,)
    assert matrix.sizes(given["x"].shape) == sizes
    rows = patches(matrix, given["x"], positions, np.random.default_rng(1))
    product = np.einsum("grf,gof->rgo", rows, matrix.of(graph.initializers["w"])).reshape(-1, matrix.channels)
    at = drawn(sizes, positions, np.random.default_rng(1))
    assert len(at.at) == sizes[0] * min(positions or 1000, int(np.prod(sizes[1:]))) == len({*at.at})
    np.testing.assert_allclose(product, at.of(found, axis) if found.ndim > 1 else found[None], atol=1e-4)


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_rows_times_the_matrix_are_the_output(text: str) -> None:
    graph = parse(text)
    (operator,) = graph.operators
    matrix, given = matrix_of(graph, operator), feeds(graph, 3)
    assert isinstance(matrix, Matrix)
    (found,) = (values["y"] for values in evaluate(graph, ["y"], [given]))
    axis = matrix.axis(found.ndim)
    sizes = found.shape[:axis] + found.shape[axis + 1 :] or (1,)
    at = np.random.default_rng(0).permutation(int(np.prod(sizes)))[:40]
    weight = graph.initializers["w"]
    seen, m = matrix.rows(given["x"], Rows(sizes, at)), matrix.of(weight)
    assert m.shape == (matrix.groups, matrix.channels // matrix.groups, matrix.features)
    np.testing.assert_allclose(matrix.weight(m), weight, rtol=1e-6)
    product = np.einsum("grf,gof->rgo", seen, m).reshape(len(at), -1)
    np.testing.assert_allclose(product, Rows(sizes, at).of(found, axis) if found.ndim > 1 else found[None], atol=1e-5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x[N,3,6,6], w[4,3,1,1] -> y { y = Conv(x, w) }", "computed at run time"),
        ("x[N,4] -> y { y = Relu(x) }", "no convolution"),
        ("x[N,4] -> y { w = Mul(v[4,3], s[3]); y = MatMul(x, w) }", "computed at run time"),
        ("x[N,2,4] -> y { y = MatMul(x, w[2,4,3]) }", "no matrix"),
    ],
)
def test_what_is_no_matrix_says_why(text: str, why: str) -> None:
    graph = parse(text)
    found = matrix_of(graph, graph.operators[-1])
    assert isinstance(found, str)
    assert why in found
