"""`dead-neurons`: what is cut off goes without a trace, what cannot go stays and says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneir.api import Optimized, optimize
from pruneir.constants import exact_constants
from pruneir.coupling import couple
from pruneir.graph import Graph, parse
from pruneir.onnx_io import evaluate
from pruneir.verify import random_feeds

MLP = "x[N,8] -> y { h = Gemm(x, w[8,16], b[16]); r = Relu(h); y = Gemm(r, v[16,4], c[4]) }"
DEEP = (
    "x[N,8] -> y { h = Gemm(x, w[8,16], b[16]); r = Sigmoid(h); k = Gemm(r, u[16,12], d[12]); s = Tanh(k); "
    "y = Gemm(s, v[12,4], c[4]) }"
)
CONV = "x[N,3,8,8] -> y { a = Conv(x, w[16,3,3,3], b[16]); r = {ACT}(a); y = Conv(r, v[4,16,3,3]{PADS}) }"
BEHIND = "x[N,3,8,8] -> y { a = Conv(x, w[16,3,3,3], b[16]); %s; y = Gemm(f, v[%d,10]) }"
NORM = "n = BatchNormalization(a, s[16], t[16], m[16], q[16]); r = Relu(n); p = MaxPool(r, kernel_shape=[2,2], strides=[2,2]); f = Flatten(p)"
MEAN = "r = HardSwish(a); g = GlobalAveragePool(r); f = Flatten(g)"
ADDED = (
    "x[N,8] -> y { h = MatMul(x, w[8,16]); g = MatMul(x, u[8,16]); s = Add(h, g); r = Relu(s); y = MatMul(r, v[16,4]) }"
)
DEPTHWISE = (
    "x[N,3,8,8] -> y { a = Conv(x, w[16,3,1,1], b[16]); r = Relu(a); "
    "d = Conv(r, u[16,1,3,3], c[16], group=16, pads=[1,1,1,1]); s = Sigmoid(d); y = Conv(s, v[4,16,1,1]) }"
)
STREAM = "x[N,8] -> y { h = MatMul(x, w[8,16]); r = Relu(h); k = MatMul(r, u[16,16]); s = Add(h, k); y = MatMul(s, v[16,4]) }"
JOINED = "x[N,8] -> y { h = Gemm(x, w[8,16], b[16]); g = Gemm(x, u[8,6], d[6]); j = Concat(h, g, axis=1); y = Gemm(j, v[22,4]) }"
PLACES = "x[N,3,8,8] -> y { p = Conv(k[1,16,8,8], w[6,16,1,1]); a = Conv(x, u[6,3,1,1]); s = Add(a, p); y = Conv(s, v[4,6,1,1]) }"

CASES = {
    "no outgoing weights": (MLP, {"v": np.s_[4:8]}, {"h": 12}, "4 without outgoing weights, 0 constant"),
    "constant": (MLP, {"w": np.s_[:, :5]}, {"h": 11}, "0 without outgoing weights, 5 constant"),
    "both": (MLP, {"w": np.s_[:, :5], "v": np.s_[4:8]}, {"h": 8}, "4 without outgoing weights, 4 constant"),
    "backwards through a layer": (DEEP, {"v": np.s_[2:], "u": np.s_[3:, :2]}, {"h": 3, "k": 2}, "23 without outgoing"),
    "forwards through a layer": (DEEP, {"w": np.s_[:, :6], "u": np.s_[6:, :4]}, {"h": 10, "k": 8}, "10 constant"),
    "convolution": (CONV.replace("{ACT}", "Sigmoid").replace("{PADS}", ""), {"w": np.s_[:4]}, {"a": 12}, "4 constant"),
    "behind BatchNormalization and pool": (BEHIND % (NORM, 144), {"w": np.s_[:4]}, {"a": 12}, "4 constant"),
    "behind a mean": (BEHIND % (MEAN, 16), {"w": np.s_[:4]}, {"a": 12}, "4 constant"),
    "one term of a sum is not enough": (ADDED, {"w": np.s_[:, :4]}, {"h": 16}, None),
    "both terms of a sum": (ADDED, {"w": np.s_[:, :4], "u": np.s_[:, 2:6]}, {"h": 14}, "2 constant"),
    "concatenated": (JOINED, {"u": np.s_[:, :2], "v": np.s_[:3]}, {"h": 13, "g": 4}, "3 without outgoing"),
    "depthwise behind": (DEPTHWISE, {"v": np.s_[:, :5]}, {"a": 11}, "5 without outgoing weights"),
    "residual stream": (STREAM, {"v": np.s_[:5], "u": np.s_[:3]}, {"h": 13}, "3 without outgoing weights"),
    "one of all stays": (MLP, {"v": np.s_[:]}, {"h": 1}, "15 without outgoing weights"),
    "nothing is dead": (MLP, {}, {"h": 16}, None),
    "a constant that is convolved": (PLACES, {}, {"p": 16}, None),
    "a constant that is convolved with zeros": (PLACES, {"w": np.s_[:, 3:5]}, {"p": 14}, "2 without outgoing weights"),
}  # fmt: skip


def with_zeros(text: str, zeros: dict[str, Any]) -> Graph:
    graph = parse(text)
    for name, where in zeros.items():
        array = graph.initializers[name].copy()
        array[where] = 0
        graph.initializers[name] = array
    return graph


def cleaned(graph: Graph, **options: object) -> Optimized:
    made = optimize(graph, ["dead-neurons"], fold=False, **options)  # type: ignore[arg-type]
    assert all(record.check is None or record.check.ok for record in made.outcome.records)
    ours, theirs = (next(evaluate(each, graph.outputs, [random_feeds(graph, seed=7)])) for each in (made.graph, graph))
    for name in graph.outputs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5)
    return made


@pytest.mark.parametrize(("text", "zeros", "left", "says"), CASES.values(), ids=CASES)
def test_dead_channels_go_and_nothing_changes(
    text: str, zeros: dict[str, Any], left: dict[str, int], says: str | None
) -> None:
    graph = with_zeros(text, zeros)
    made = cleaned(graph)
    groups = {group.name: len(group) for group in couple(made.graph).groups}
    whole = {group.name: len(group) for group in couple(graph).groups}
    assert {name: groups.get(name, 1) for name in left} == left
    (note,) = made.outcome.records[-1].result.notes
    assert (says or "no channel is dead") in note
    assert (left == {name: whole[name] for name in left}) == (says is None)


def test_a_constant_before_zero_padding_stays_and_says_why() -> None:
    padded = CONV.replace("{PADS}", ", pads=[1,1,1,1]")
    made = cleaned(with_zeros(padded.replace("{ACT}", "Sigmoid"), {"w": np.s_[:4], "v": np.s_[:, :2]}))
    (row,) = made.outcome.rows
    assert (row.channels_after, row.note) == (14, "2 constant: zero padding before 'y' keeps them")
    graph = with_zeros(padded.replace("{ACT}", "Relu"), {"w": np.s_[:4]})
    graph.initializers["b"] = -np.abs(graph.initializers["b"])  # a ReLU makes zeros of these, as padding has
    assert cleaned(graph).outcome.rows[0].channels_after == 12


@pytest.mark.parametrize("options", [{"keep": ["h"]}, {"only": ["y"]}])
def test_globs_hold(options: dict[str, list[str]]) -> None:
    graph = with_zeros(MLP, {"v": np.s_[4:8]})
    if "only" in options:
        options = {"only": ["c"]}
    assert cleaned(graph, **options).graph.initializers["w"].shape == (8, 16)


def test_constants_are_proofs_not_estimates() -> None:
    """A ReLU far below zero is nearly always 0, and a mean hardly varies: neither is a constant."""
    graph = parse(
        "x[N,3,8,8] -> y { a = Conv(x, w[4,3,3,3], b[4]); r = Relu(a); g = GlobalAveragePool(r); f = Flatten(g); y = Gemm(f, v[4,2]) }"
    )
    graph.initializers["b"] = np.array([-100, -100, 1, 1], np.float32)
    w = graph.initializers["w"].copy()
    w[1] = 0
    graph.initializers["w"] = w
    known = exact_constants(couple(graph))
    assert (known["f"].variance == 0).tolist() == [False, True, False, False]
    assert known["f"].mean[1] == 0


def test_a_constant_that_is_concatenated_is_not_taken_for_zero() -> None:
    graph = parse("x[2,8] -> y { h = Gemm(x, w[8,6], b[6]); j = Concat(h, k[2,4], axis=1); y = Gemm(j, v[10,3]) }")
    assert "j" not in exact_constants(couple(graph))
    graph = with_zeros(
        "x[2,8] -> y { h = Gemm(x, w[8,6], b[6]); j = Concat(h, k[2,4], axis=1); y = Gemm(j, v[10,3]) }",
        {"w": np.s_[:, 2]},
    )
    assert (exact_constants(couple(graph))["j"].variance == 0).tolist() == [i == 2 for i in range(10)]
    cleaned(graph)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSwish"]),
    st.sampled_from(["", ", pads=[1,1,1,1]", ", strides=[2,2]"]),
    st.floats(0.5, 0.97),
    st.integers(0, 2**16),
)
def test_random_zeros_change_nothing(activation: str, how: str, share: float, seed: int) -> None:
    graph = parse(
        f"x[N,2,9,9] -> y {{ a = Conv(x, w1[6,2,3,3], b1[6]); r = {activation}(a); c = Conv(r, w2[6,6,3,3], b2[6]{how}); "
        f"s = {activation}(c); d = Conv(s, w3[6,6,1,1]); t = Add(s, d); e = Conv(t, w4[5,6,3,3]{how}); "
        "g = GlobalAveragePool(e); f = Flatten(g); y = Gemm(f, w5[5,3]) }"
    )
    rng = np.random.default_rng(seed)
    for name in ("w1", "w2", "w3", "w4"):
        array = graph.initializers[name]
        rows = rng.random(len(array)) < share  # whole filters, and single weights
        zero = (rng.random(array.shape) < share) | rows.reshape(-1, *[1] * (array.ndim - 1))
        graph.initializers[name] = np.where(zero, 0, array).astype(np.float32)
    made = cleaned(graph)
    assert sum(row.channels_after for row in made.outcome.rows) <= sum(row.channels_before for row in made.outcome.rows)


def test_after_magnitude_on_a_network() -> None:
    made = optimize(parse(DEEP), ["magnitude{sparsity=0.95}", "dead-neurons"])
    assert made.plan.kept
    assert sum(row.channels_after for row in made.outcome.rows) < 28
