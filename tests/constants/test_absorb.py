"""A channel that γ has silenced is a constant: cutting it and absorbing the constant changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir import api
from pruneir.constants import absorb, estimate, exact_constants, held_constants
from pruneir.coupling import Coupling, couple
from pruneir.graph import Graph, parse
from pruneir.onnx_io import session
from pruneir.surgery import apply
from pruneir.verify import held, random_feeds
from support.properties import differences

SILENT = 5
HEAD = "c = Conv(x, w[12,3,3,3]); n = BatchNormalization(c, gamma[12], beta[12], mu[12], var[12])"

# What stands between the BatchNorm `n` and the output; no consumer pads, so absorption is exact.
TAILS = {
    "conv": "r = Relu(n); y = Conv(r, v[4,12,3,3])",
    "conv with bias": "r = Relu(n); y = Conv(r, v[4,12,1,1], vb[4])",
    "conv and batch norm": "r = Relu(n); d = Conv(r, v[4,12,1,1]); y = BatchNormalization(d, s[4], t[4], m[4], q[4])",
    "two consumers": "r = Relu(n); d = Conv(r, v[4,12,1,1]); e = Conv(r, u[4,12,1,1]); y = Add(d, e)",
    "any activation": "s = Sigmoid(n); p = Mul(n, s); y = Conv(p, v[4,12,1,1])",
    "hard activations": "h = HardSwish(n); p = Clip(h, -0.25, 0.75); y = Conv(p, v[4,12,1,1])",
    "depthwise": "d = Conv(n, u[12,1,3,3], ub[12], group=12); r = Relu(d); y = Conv(r, v[4,12,1,1])",
    "grouped consumer": "r = Relu(n); d = Conv(r, u[8,6,1,1], group=2); y = Conv(d, v[4,8,1,1])",
    "pools": "r = Relu(n); p = MaxPool(r, kernel_shape=[2,2]); q = AveragePool(p, kernel_shape=[2,2]); y = Conv(q, v[4,12,1,1])",
    "pooled and flat": "r = Relu(n); p = GlobalAveragePool(r); f = Flatten(p); y = Gemm(f, v[12,4], vb[4])",
    "gemm without bias": "r = Relu(n); p = GlobalAveragePool(r); f = Flatten(p); y = Gemm(f, v[4,12], transB=1, alpha=0.5)",
    "spatial mean, axes dropped": "r = Relu(n); p = ReduceMean(r, axes=[2,3], keepdims=0); y = Gemm(p, v[12,4], vb[4])",
    "matmul": "r = Relu(n); p = ReduceMean(r, axes=[2,3], keepdims=0); y = MatMul(p, v[12,4])",
    "matmul and add": "r = Relu(n); p = ReduceMean(r, axes=[2,3], keepdims=0); m = MatMul(p, v[12,4]); y = Add(m, a[4])",
    "flattened image": "r = Relu(n); f = Flatten(r); y = Gemm(f, v[432,4], vb[4])",
    "channels last": "r = Relu(n); t = Transpose(r, perm=[0,2,3,1]); y = MatMul(t, v[12,4])",
    "concat": "r = Relu(n); d = Conv(x, u[3,3,3,3]); e = Concat(d, r, n, axis=1); y = Conv(e, v[4,27,1,1])",
    "slice": "r = Relu(n); s = Slice(r, {2}, {11}, {1}); y = Conv(s, v[4,9,1,1])",
    "scaled and shifted": "a = Mul(n, s[12,1,1]); b = Add(a, t[1,12,1,1]); c2 = Add(b, 0.5); y = Conv(c2, v[4,12,1,1])",
    "a second batch norm": "r = Relu(n); m2 = BatchNormalization(r, s[12], t[12], m[12], q[12]); y = Conv(m2, v[4,12,1,1])",
    "without a reference implementation": "g = Gelu(n); y = Conv(g, v[4,12,1,1])",
    "ReLU6 of opset 9": "p = Clip(n, min=0.0, max=6.0); y = Conv(p, v[4,12,1,1])",
    "resized": 'r = Relu(n); u = Resize(r, _, {1.0,1.0,2.0,2.0}, mode="nearest"); y = Conv(u, v[4,12,1,1])',
}


def silenced(tail: str) -> Graph:
    opset = 20 if "Gelu" in tail else 9 if "min=" in tail else 17
    graph = parse(f"x[N,3,8,8] -> y {{ {HEAD}; {tail} }}", opset=opset)
    gamma = graph.initializers["gamma"].copy()
    gamma[:SILENT] = 0
    graph.set_initializer("gamma", gamma)
    return graph


def cut_silent(coupling: Coupling, *, absorbing: bool) -> tuple[Graph, Graph]:
    """The graph without its silent channels, and the uncut graph that holds them at their constants."""
    removed = []
    for group in coupling.groups:
        for member in group.members:
            if member.use.name == "gamma":
                removed.append((group, np.unique(member.channel[:SILENT][member.channel[:SILENT] >= 0])))
    dead = coupling.dead(removed)
    cut = coupling.cut(dead)
    surgery = apply(coupling, dead)
    constants = held_constants(coupling, cut, estimate(coupling)) if absorbing else {}
    absorb(coupling, cut, constants, surgery.graph)
    return surgery.graph, held(coupling, dead, constants)


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_silent_channels_go_without_a_trace(tail: str) -> None:
    graph = silenced(tail)
    small, reference = cut_silent(couple(graph), absorbing=True)
    assert small.initializers["gamma"].size == 12 - SILENT or "grouped" in tail or "group=2" in tail
    assert max(dict(differences(small, reference, 2)).values()) <= 1
    if small.initializers["gamma"].size == 12 - SILENT:
        assert max(dict(differences(small, graph, 2)).values()) <= 3


def test_dropping_the_constant_would_show() -> None:
    graph = silenced(TAILS["conv"])
    small, _ = cut_silent(couple(graph), absorbing=False)
    assert max(dict(differences(small, graph, 2)).values()) > 1000


def test_padding_reads_the_constant_too() -> None:
    """With zero padding the border differs from the original, but not from the network that holds the channel."""
    graph = silenced("r = Relu(n); y = Conv(r, v[4,12,3,3], pads=[1,1,1,1])")
    small, reference = cut_silent(couple(graph), absorbing=True)
    assert max(dict(differences(small, reference, 2)).values()) <= 1
    assert max(dict(differences(small, graph, 2)).values()) > 100


def test_mean_of_a_rectified_gaussian() -> None:
    """E relu(β + γz) = β·Φ(β/|γ|) + |γ|·φ(β/|γ|)."""
    graph = parse(f"x[N,3,8,8] -> y {{ {HEAD}; r = Relu(n); y = Conv(r, v[4,12,1,1]) }}")
    beta, gamma = (graph.initializers[name].astype(np.float64) for name in ("beta", "gamma"))
    beta -= 1
    graph.set_initializer("beta", beta.astype(np.float32))
    samples = np.random.default_rng(0).standard_normal((200_000, 1))
    measured = np.maximum(beta + gamma * samples, 0).mean(axis=0)
    np.testing.assert_allclose(estimate(couple(graph))["r"].mean, measured, atol=0.01)


# What is added to a product whose first output has no weights: (graph, whether that output is a constant).
BIASES = {
    "none": ("x[4,8] -> y { a = Gemm(x, w[8,4]); r = Relu(a); y = Gemm(r, v[4,3]) }", True),
    "a number": ("x[4,8] -> y { a = Gemm(x, w[8,4], 0.5, beta=2.0); r = Relu(a); y = Gemm(r, v[4,3]) }", True),
    "a row": ("x[4,8] -> y { a = Gemm(x, w[8,4], c[1,4], beta=2.0); r = Relu(a); y = Gemm(r, v[4,3]) }", True),
    "a column": ("x[4,8] -> y { a = Gemm(x, w[8,4], c[4,1]); r = Relu(a); y = Gemm(r, v[4,3]) }", False),
    "a column of another length": (
        "x[2,8] -> y { a = Gemm(x, w[8,4], c[2,1]); r = Relu(a); y = Gemm(r, v[4,3]) }",
        False,
    ),
    "a matrix": ("x[4,8] -> y { a = Gemm(x, w[8,4], c[4,4]); r = Relu(a); y = Gemm(r, v[4,3]) }", False),
    "computed": (
        "x[4,3,4,4], z[1,5] -> y { m = Gemm(z, u[5,8]); b = Reshape(m, {8}); a = Conv(x, w[8,3,1,1], b); r = Relu(a)"
        "; y = Conv(r, v[4,8,1,1]) }",
        False,
    ),
}


@pytest.mark.parametrize(("text", "constant"), BIASES.values(), ids=BIASES)
def test_what_is_said_to_be_constant_is(text: str, constant: bool) -> None:
    graph = parse(text)
    weight = graph.initializers["w"].copy()
    weight[(slice(None), 0) if weight.ndim == 2 else 0] = 0
    graph.set_initializer("w", weight)
    found = exact_constants(couple(graph))
    assert ("a" in found) is constant
    for feeds in (random_feeds(graph, seed=seed) for seed in range(2)):
        for known, value in zip(found.values(), session(graph, list(found)).run(list(found), feeds), strict=False):
            fixed = np.moveaxis(value, known.axis, -1)[..., known.variance == 0]
            np.testing.assert_allclose(fixed, np.broadcast_to(known.mean[known.variance == 0], fixed.shape), atol=1e-6)
    api.optimize(graph, ["filter{ratio=0.5}"])


def test_moments_of_channels_are_none_of_the_axis_that_is_summed() -> None:
    graph = parse("x[N,3,8] -> y { c = Conv(x, k[8,3,1], b[8]); y = MatMul(c, w[8,4]) }")
    weight = graph.initializers["w"]
    np.testing.assert_allclose(estimate(couple(graph))["y"].variance, np.square(weight).sum(axis=0), rtol=1e-5)
