"""Costs: numbers computed by hand, and those of a cut without carrying it out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from pruneir import surgery
from pruneir.cost import Cost, cost, macs_by_operator, prunable_share
from pruneir.coupling import Coupling, couple
from pruneir.graph import parse
from pruneir.onnx_io import load

LIGHT = Path(os.path.dirname(onnx.__file__)) / "backend/test/data/light"
PIXELS = 8 * 8

COSTS = {
    "conv, batch symbolic": (
        "x[N,3,8,8] -> y { y = Conv(x, w[16,3,3,3], b[16], pads=[1,1,1,1]) }",
        Cost(16 * PIXELS * 3 * 9, 16 * 28, 4 * 16 * 28, 4 * PIXELS * (3 + 16)),
    ),
    "conv, batch given": (
        "x[4,3,8,8] -> y { y = Conv(x, w[16,3,3,3], pads=[1,1,1,1]) }",
        Cost(4 * 16 * PIXELS * 3 * 9, 16 * 27, 4 * 16 * 27, 4 * 4 * PIXELS * (3 + 16)),
    ),
    "grouped": (
        "x[N,4,8,8] -> y { y = Conv(x, w[8,2,1,1], group=2) }",
        Cost(8 * PIXELS * 2, 16, 64, 4 * PIXELS * 12),
    ),
    "transposed": (
        "x[N,4,8,8] -> y { y = ConvTranspose(x, w[4,5,2,2], strides=[2,2]) }",
        Cost(4 * PIXELS * 5 * 4, 80, 320, 4 * PIXELS * (4 + 20)),
    ),
    "gemm": ("x[N,8] -> y { y = Gemm(x, w[5,8], b[5], transB=1) }", Cost(40, 45, 180, 4 * 13)),
    "two activations": (
        "x[N,6,8] -> y { t = Transpose(x, perm=[0,2,1]); y = MatMul(x, t) }",
        Cost(6 * 8 * 6, 0, 0, 4 * (48 + 48 + 36)),
    ),
    "half precision, integers": (
        "x[N,8]:f16 -> y:f16 { m = MatMul(x, w[8,6]:f16); y = Reshape(m, {-1,2,3}) }",
        Cost(48, 48, 96 + 24, 2 * 14),
    ),
    "a tensor read twice counts once": (
        "x[N,4] -> y { a = MatMul(x, w[4,4]); y = MatMul(a, w) }",
        Cost(32, 16, 64, 4 * 8),
    ),
    "a value that is read late stays": (
        "x[N,4] -> y { a = Relu(x); b = Neg(a); c = Neg(b); y = Add(c, a) }",
        Cost(0, 0, 0, 4 * 4 * 3),
    ),
    "so does one that is read late under another name": (
        "x[N,4] -> y { a = Relu(x); r = Reshape(a, {-1,2,2}); b = Neg(r); c = Neg(b); d = Add(c, r); y = Neg(d) }",
        Cost(0, 0, 24, 4 * 4 * 3),
    ),
    "parameters made by operators are no activations": (
        "x[N,4] -> y { w[4,400]; t = Neg(w); y = MatMul(x, t) }",
        Cost(1600, 1600, 6400, 4 * 404),
    ),
}


@pytest.mark.parametrize(("source", "expected"), COSTS.values(), ids=COSTS)
def test_cost(source: str, expected: Cost) -> None:
    assert cost(couple(parse(source))) == expected


CUTS = {
    "chain": "x[N,3,8,8] -> y { a = Conv(x, w1[6,3,3,3], c[6]); r = Relu(a); y = Conv(r, w2[4,6,3,3]) }",
    "flattened": "x[N,3,4,4] -> y { a = Conv(x, w1[6,3,1,1]); f = Flatten(a); g = Gemm(f, w2[96,5]);"
    " y = MatMul(g, w3[5,2]) }",
    "depthwise": "x[N,3,8,8] -> y { a = Conv(x, w1[6,3,1,1]); d = Conv(a, w2[6,1,3,3], group=6);"
    " y = Conv(d, w3[4,6,1,1]) }",
    "grouped": "x[N,3,8,8] -> y { a = Conv(x, w1[6,3,1,1]); d = Conv(a, w2[9,2,3,3], group=3);"
    " y = Conv(d, w3[4,9,1,1]) }",
    "copied vector": "x[N,3,8,8] -> y { k[6]; a = Conv(x, w1[6,3,1,1], k); b = Conv(a, w2[6,6,1,1], k);"
    " y = Conv(b, w3[4,6,1,1], k2[4]) }",
    "concat": "x[N,3,8,8] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(x, w2[5,3,1,1]); c = Concat(a, b, axis=1);"
    " y = Conv(c, w3[2,9,1,1]) }",
    "batch and channels in one axis": "x[N,3,4,4] -> y { a = Conv(x, w1[6,3,1,1]); f = Reshape(a, {-1,16});"
    " m = MatMul(f, u[16,16]); g = Reshape(m, {-1,6,4,4}); y = Conv(g, w2[4,6,1,1]) }",
}


@pytest.mark.parametrize("source", CUTS.values(), ids=CUTS)
def test_cost_of_a_cut_is_that_of_the_pruned_network(source: str) -> None:
    coupling, dead = halved(source)
    before, after = cost(coupling), cost(coupling, coupling.cut(dead))
    assert after == cost(couple(surgery.apply(coupling, dead).graph))
    assert after.macs < before.macs
    counter = coupling.mac_counter
    assert counter.total(dead) == after.macs
    assert counter.total(np.zeros_like(dead)) == before.macs


def halved(source: str) -> tuple[Coupling, np.ndarray]:
    """A coupling, and the removal of different channels of each group."""
    coupling = couple(parse(source))
    groups = [group for group in coupling.groups if not group.positions]
    removed = [(group, np.arange(len(group))[i : i + max(len(group) // 2, 1)]) for i, group in enumerate(groups)]
    return coupling, coupling.dead([(g, c) for g, c in removed if len(c) < len(g)])


def test_macs_by_operator() -> None:
    coupling = couple(parse(CUTS["chain"]))
    counted = {op.label: macs for op, macs in macs_by_operator(coupling).items()}
    assert counted == {"a": 6 * 36 * 27, "y": 4 * 16 * 54}


def test_prunable_share() -> None:
    """The first layer's outputs and the second's inputs can go; a layer between input and output cannot lose any."""
    assert prunable_share(couple(parse(CUTS["chain"]))) == 1
    assert prunable_share(couple(parse("x[N,4] -> y { y = MatMul(x, w[4,4]) }"))) == 0
    assert prunable_share(couple(parse("x[N,4] -> y { y = Relu(x) }"))) == 0
    partly = "x[N,4] -> y, z { y = MatMul(x, w[4,4]); a = MatMul(x, u[4,6]); z = MatMul(a, v[6,2]) }"
    assert prunable_share(couple(parse(partly))) == pytest.approx((24 + 12) / (16 + 24 + 12))


@pytest.mark.parametrize(("model", "macs"), [("resnet50", 4_089_184_256), ("vgg19", 19_632_062_464)])
def test_published_networks(model: str, macs: int) -> None:
    """As published: 4.1 and 19.6 billion."""
    assert sum(macs_by_operator(couple(load(LIGHT / f"light_{model}.onnx"))).values()) == macs
