"""Equality and drift: what is compared, what counts as equal, and in which type."""

from __future__ import annotations

import numpy as np
import pytest

import pruneir
from pruneir.graph import Graph, parse
from pruneir.verify import Drift, compare, random_feeds, verify


def one(a: Graph, b: Graph, batch: int = 2) -> Drift:
    (drift,) = compare(a, b, random_feeds(b, batch=batch))
    return drift


def scaled(source: str, name: str, factor: float) -> tuple[Graph, Graph]:
    """A graph with one tensor scaled, and the graph."""
    graph = parse(source)
    other = graph.copy()
    array = graph.initializers[name]
    other.set_initializer(name, (array * array.dtype.type(factor)).astype(array.dtype))
    return other, graph


GEMM = "x[N,8] -> y { y = MatMul(x, w[8,4]) }"


@pytest.mark.parametrize(("factor", "equal"), [(1.0, True), (1 + 5e-6, True), (1 + 5e-5, False), (float("nan"), False)])
def test_float32_is_equal_to_1e_5(factor: float, equal: bool) -> None:
    drift = one(*scaled(GEMM, "w", factor))
    assert drift.equal is equal
    assert drift.at == ("y",)


def test_figures() -> None:
    drift = one(*scaled(GEMM, "w", 1.5), batch=16)
    feeds = random_feeds(parse(GEMM), batch=16)
    y = feeds["x"] @ parse(GEMM).initializers["w"]
    assert drift.largest == pytest.approx(0.5)
    assert drift.mean == pytest.approx(0.5 * np.abs(y).max(axis=1).mean() / np.abs(y).max())
    assert drift.difference == pytest.approx(0.5 * np.abs(y).max())


def test_several_batches_are_one_data_set() -> None:
    a, b = scaled(GEMM, "w", 1.5)
    feeds = random_feeds(b, batch=16)
    parts = [{"x": part} for part in np.split(feeds["x"], 4)]
    (whole,), (split,) = compare(a, b, feeds), compare(a, b, parts)
    assert split.largest == pytest.approx(whole.largest)
    assert split.mean == pytest.approx(whole.mean)


@pytest.mark.parametrize(("dtype", "factor"), [("f16", 1.003), ("bf16", 1.02)])
def test_coarse_types_have_a_coarse_tolerance(dtype: str, factor: float) -> None:
    source = f"x[N,8]:f32 -> y:f32 {{ w[8,4]:{dtype}; c = Cast(w, to=1); y = MatMul(x, c) }}"
    assert one(*scaled(source, "w", factor)).equal
    assert not one(*scaled(source, "w", 1.5)).equal


def test_bfloat16_comes_in_and_out() -> None:
    graph = parse("x[N,8]:bf16 -> y:bf16 { c = Cast(x, to=1); d = Mul(c, 2.0); y = Cast(d, to=16) }")
    assert one(graph, graph).equal


INSTEAD = {
    "argmax": ("x[N,8] -> y:i64 { s = MatMul(x, w[8,4]); y = ArgMax(s, axis=1) }", ("s",)),
    "top-k through a gather": (
        "x[N,8] -> y { s = MatMul(x, w[8,6]); v, i = TopK(s, {2}, axis=1); c = Cast(i, to=6);"
        " y = GatherElements(s, c, axis=1) }",
        ("s",),
    ),
    "what runs in beside it": (
        "x[N,8] -> y { s = MatMul(x, w[8,6]); b = MatMul(x, u[8,6]); v, i = TopK(s, {2}, axis=1);"
        " y = GatherElements(b, i, axis=1) }",
        ("b", "s"),
    ),
    "non-maximum suppression": (
        "x[1,8] -> y:i64 { f = MatMul(x, w[8,40]); b = Reshape(f, {1,10,4}); g = MatMul(x, u[8,10]);"
        " s = Reshape(g, {1,1,10}); y = NonMaxSuppression(b, s, {5}, {0.5}, {-9.0}) }",
        ("b", "s"),
    ),
    "a threshold": ("x[N,8] -> y:bool { s = MatMul(x, w[8,4]); y = Greater(s, 0.0) }", ("s",)),
    "all zero": ("x[N,8] -> y { s = MatMul(x, w[8,4]); a = Abs(s); n = Neg(a); y = Relu(n) }", ("n",)),
    "multiplied by zero": ("x[N,8] -> y { s = MatMul(x, w[8,4]); y = Mul(s, 0.0) }", ("s",)),
    "the same for all data": ("x[N,8] -> y { s = MatMul(x, w[8,4]); z = Mul(s, 0.0); y = Add(z, b[4]) }", ("s",)),
    "saturated": ("x[N,8] -> y { s = MatMul(x, w[8,4]); t = Mul(s, 100.0); y = Sigmoid(t) }", ("t",)),
    "saturated, reshaped": (
        "x[N,8] -> y { s = MatMul(x, w[8,4]); t = Mul(s, 100.0); p = Softmax(t); y = Reshape(p, {-1,2,2}) }",
        ("t",),
    ),
    "not saturated": ("x[N,8] -> y { s = MatMul(x, w[8,4]); y = Softmax(s) }", ("y",)),
    "integers": ("x[N,8] -> y:i64 { s = MatMul(x, w[8,4]); y = Cast(s, to=7) }", ("y",)),
    "a constant by design": ("x[N,8] -> y { w[8,4]; y = Mul(w, 0.0) }", ("y",)),
}


@pytest.mark.parametrize(("source", "at"), INSTEAD.values(), ids=INSTEAD)
def test_what_is_compared(source: str, at: tuple[str, ...]) -> None:
    graph = parse(source)
    drift = one(graph, graph)
    assert set(drift.at) == set(at)
    assert drift.equal
    if at != ("y",) or source == INSTEAD["not saturated"][0]:
        assert not one(*scaled(source, "w", 1.01)).equal


FAR = {
    "a chain of 40": (40, "z{1} = Neg(z{0})"),
    "a chain of 400": (400, "z{1} = Neg(z{0})"),
    "branches": (40, "a{1} = Neg(z{0}); b{1} = Abs(z{0}); z{1} = Add(a{1}, b{1})"),
}


@pytest.mark.parametrize(("count", "step"), FAR.values(), ids=FAR)
def test_far_upstream_in_few_rounds(count: int, step: str) -> None:
    steps = "; ".join(step.format(i, i + 1) for i in range(count))
    graph = parse(f"x[N,8] -> z{count} {{ s = MatMul(x, w[8,4]); z0 = Mul(s, 0.0); {steps} }}")
    assert one(graph, graph).at == ("s",)


def test_inner_values_are_compared_where_positions_are_left() -> None:
    """A last layer of zeros: its input speaks for it, as far as both graphs have it."""
    b = parse("x[N,8] -> y { s = MatMul(x, w[8,4]); z = MatMul(s, v[4,2]); y = Mul(z, 0.0) }")
    a = b.copy()
    a.set_initializer("w", b.initializers["w"][:, [0, 2]])
    a.set_initializer("v", b.initializers["v"][[0, 2]])
    kept = {"s": {1: np.array([0, 2])}, "z": {1: np.array([0])}}
    (drift,) = compare(a, b, random_feeds(b), kept)
    assert drift.at == ("s",)
    assert drift.equal


def test_outputs_of_other_shape_differ() -> None:
    drift = one(parse("x[N,8] -> y { y = MatMul(x, w[8,2]) }"), parse(GEMM))
    assert not drift.equal
    assert drift.largest == float("inf")


def test_equal_infinities_are_equal() -> None:
    graph = parse("x[N,8] -> y { m = MatMul(x, w[8,3]); y = Concat(m, c[2,1], axis=1) }")
    graph.set_initializer("c", np.full((2, 1), -np.inf, np.float32))
    assert one(graph, graph).equal


def test_not_a_number_is_never_equal() -> None:
    graph = parse("x[N,8] -> y { y = Sqrt(x) }")
    assert not one(graph, graph).equal


def test_verdicts() -> None:
    a, b = scaled(GEMM, "w", 1.5)
    feeds = random_feeds(b)
    assert verify(b, b, feeds).ok
    assert not verify(b, a, feeds, "masked").ok
    drifted = verify(b, a, feeds, "drift")
    assert drifted.ok
    assert drifted.worst == pytest.approx(0.5)
    assert drifted.to_json()["tolerance"] is None
    assert verify(b, a, feeds).to_json() == {
        "kind": "equal",
        "ok": False,
        "worst": drifted.worst,
        "mean": drifted.mean,
        "tolerance": 1e-5,
        "outputs": [
            {
                "name": "y",
                "compared": ["y"],
                "largest": drifted.worst,
                "mean": drifted.mean,
                "difference": drifted.outputs[0].difference,
                "equal": False,
                "rounding": 0.0,
            }
        ],
    }


@pytest.mark.parametrize("sample", [np.zeros((1, 3, 6, 6)), np.full((1, 3, 6, 6), 0.7)], ids=["zeros", "the same"])
def test_samples_that_are_all_alike_are_judged_by_the_output(sample: np.ndarray) -> None:
    graph = parse(
        "x[N,3,6,6] -> y { a = Conv(x, w[4,3,3,3], b[4]); r = Relu(a); f = Flatten(r); y = Gemm(f, v[64,5], c[5]) }"
    )
    [drift] = compare(graph, graph, {"x": np.repeat(sample, 4, axis=0).astype(np.float32)})
    assert drift.equal
    assert drift.at == ("y",)


# outputs that say nothing of a cut, where values before them have other channels or other constants
QUIET = {
    "one number of one sample": (
        "x[1,3,8,8] -> y { a = Conv(x, w1[8,3,3,3]); r = Relu(a); b = Conv(r, w2[8,8,3,3]); s = Relu(b);"
        " p = GlobalAveragePool(s); f = Flatten(p); y = Gemm(f, w3[8,1]) }"
    ),
    "scales of all but zero": (
        "x[N,3,8,8] -> y { a = Conv(x, w1[8,3,3,3]); n = BatchNormalization(a, g[8], k[8], m[8], v[8]); r = Relu(n);"
        " b = Conv(r, w2[8,8,1,1]); d = BatchNormalization(b, tiny[8], k2[8], m2[8], v2[8]); s = Relu(d);"
        " y = Conv(s, w3[2,8,1,1]) }"
    ),
}


@pytest.mark.parametrize("source", QUIET.values(), ids=QUIET)
def test_a_right_cut_is_not_refused_where_outputs_say_nothing(source: str) -> None:
    graph = parse(source)
    if "tiny" in graph.initializers:
        graph.set_initializer("tiny", np.full(8, 1e-8, np.float32))
    small = pruneir.optimize(graph, ["filter{ratio=0.5}"])
    assert small.plan.kept
    assert small.ok
