"""Which tensors are weights, on which axes they read and write, and what masks make of them."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.cost import macs_by_operator
from pruneir.coupling import couple
from pruneir.graph import parse
from pruneir.sparsity import density, macs_kept, masked, weights
from pruneir.sparsity.sparse import multiplied
from pruneir.verify import random_feeds, verify

AXES = {
    "Conv": ("x[N,3,8,8] -> y { y = Conv(x, w[4,3,3,3]) }", 1, 0),
    "ConvTranspose": ("x[N,3,8,8] -> y { y = ConvTranspose(x, w[3,4,3,3]) }", 0, 1),
    "Gemm": ("x[N,8] -> y { y = Gemm(x, w[8,4]) }", 0, 1),
    "Gemm transB": ("x[N,8] -> y { y = Gemm(x, w[4,8], transB=1) }", 1, 0),
    "Gemm on the left": ("x[8,5] -> y { y = Gemm(w[4,8], x) }", 1, 0),
    "Gemm transA on the left": ("x[8,5] -> y { y = Gemm(w[8,4], x, transA=1) }", 0, 1),
    "MatMul": ("x[N,5,8] -> y { y = MatMul(x, w[8,4]) }", 0, 1),
    "MatMul on the left": ("x[N,8,5] -> y { y = MatMul(w[4,8], x) }", 1, 0),
    "MatMul of several": ("x[N,2,5,8] -> y { y = MatMul(x, w[2,8,4]) }", 1, 2),
}


@pytest.mark.parametrize(("text", "inputs", "outputs"), AXES.values(), ids=AXES)
def test_axes(text: str, inputs: int, outputs: int) -> None:
    (weight,) = weights(parse(text))
    assert (weight.name, weight.input_axis, weight.output_axis) == ("w", inputs, outputs)
    assert weight.array.shape[weight.output_axis] == 4


def test_biases_scales_tables_and_outputs_are_no_weights() -> None:
    graph = parse(
        "x[N,3,8,8] -> y, t[4,3] { a = Conv(x, w[4,3,3,3], b[4]); "
        "y = BatchNormalization(a, s[4], o[4], m[4], v[4]); t = Identity(u[4,3]) }"
    )
    assert [weight.name for weight in weights(graph)] == ["w"]


def test_a_shared_tensor_is_one_weight() -> None:
    graph = parse("x[N,6] -> y { h = Gemm(x, w[6,6]); y = Gemm(h, w) }")
    (weight,) = weights(graph)
    assert [operator.label for operator, _ in weight.uses] == ["h", "y"]
    assert weight.names == {"w", "h", "y"}
    assert weight.is_called(["y"])
    assert not weight.is_called(["v*"])


def test_masking_equals_multiplying() -> None:
    graph = parse("x[N,3,8,8] -> y { a = Conv(x, w[4,3,3,3]); r = Relu(a); f = Flatten(r); y = Gemm(f, v[144,5]) }")
    rng = np.random.default_rng(0)
    masks = {weight.name: rng.random(weight.array.shape) < 0.4 for weight in weights(graph)}
    before = {name: array.copy() for name, array in graph.initializers.items()}
    result = masked(graph, masks)
    assert verify(multiplied(graph, masks), result, [random_feeds(graph)]).ok
    assert all(np.array_equal(graph.initializers[name], array) for name, array in before.items())
    assert density(weights(result)) == pytest.approx(sum(map(np.sum, masks.values())) / (108 + 720))


def test_macs_kept_are_those_of_weights_that_are_not_zero() -> None:
    graph = parse("x[1,3,8,8] -> y { a = Conv(x, w[4,3,3,3]); y = Mul(a, a) }")
    mask = np.zeros((4, 3, 3, 3), bool)
    mask[0] = True
    macs = macs_by_operator(couple(graph))
    kept = macs_kept(macs, weights(masked(graph, {"w": mask})))
    assert sum(kept.values()) * 4 == sum(macs.values()) == 36 * 4 * 27
