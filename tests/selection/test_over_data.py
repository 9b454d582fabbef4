"""Criteria over data: what they say of channels whose worth is known, and the definitions they are made of."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from pruneir.calibrate import Matrix, SecondMoments, patches, second_moments
from pruneir.coupling import Coupling, Group, couple
from pruneir.data import Data, from_arrays
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io import evaluate
from pruneir.pipeline.passes import Context
from pruneir.pipeline.registry import parse_pass
from pruneir.selection.optimal_brain import costs
from pruneir.selection.over_data import OVER_DATA, DataScores, OverData
from pruneir.selection.readers import readers
from pruneir.selection.wanda import wanda

WITH_TORCH = find_spec("torch") is not None
CRITERIA = [
    pytest.param(name, marks=pytest.mark.skipif(name == "taylor" and not WITH_TORCH, reason="needs the extra `train`"))
    for name in OVER_DATA
]


def samples(graph: Graph, count: int = 200) -> Data:
    random = np.random.default_rng(0)
    known = graph.type_of("x")
    assert known is not None
    assert known.shape is not None
    return from_arrays({"x": random.standard_normal((count, *known.shape[1:])).astype(np.float32)}, graph)  # type: ignore[arg-type]


def group_of(coupling: Coupling, name: str) -> Group:
    return next(group for group in coupling.groups if group.name == name)


# The group is of node `a`; between it and its readers is whatever keeps channels apart.
NETWORKS = {
    "conv": "x[N,3,6,6] -> y { a = Conv(x, w[8,3,3,3], b[8]); r = Relu(a); y = Conv(r, u[4,8,3,3]) }",
    "batch norm": (
        "x[N,3,6,6] -> y { a = Conv(x, w[8,3,3,3]); n = BatchNormalization(a, g[8], k[8], m[8], v[8]); r = Relu(n);"
        " y = Conv(r, u[4,8,3,3]) }"
    ),
    "pool and flatten": (
        "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); p = MaxPool(a, kernel_shape=[2,2], strides=[2,2]); f = Flatten(p);"
        " y = Gemm(f, u[72,5]) }"
    ),
    "two readers": (
        "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); r = Relu(a); p = Conv(r, u[4,8,1,1]); q = Conv(a, s[4,8,3,3], pads=[1,1,1,1]);"
        " y = Add(p, q) }"
    ),
    "twice in a concat": "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); r = Relu(a); c = Concat(r, a, axis=1); y = Conv(c, u[4,16,1,1]) }",
    "depthwise between": (
        "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); d = Conv(a, v[8,1,3,3], group=8); y = Conv(d, u[4,8,1,1]) }"
    ),
    "transposed": "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); r = Relu(a); y = ConvTranspose(r, u[8,4,2,2], strides=[2,2]) }",
    "matmul, transB": "x[N,5] -> y { a = MatMul(x, w[5,8]); r = Relu(a); y = Gemm(r, u[4,8], transB=1) }",
    "channels last": (
        "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); t = Transpose(a, perm=[0,2,3,1]); y = MatMul(t, u[8,4]) }"
    ),
}


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("side", ["made of nothing", "read by nobody"])
@pytest.mark.parametrize("text", NETWORKS.values(), ids=NETWORKS)
def test_a_channel_without_worth_goes_first(text: str, side: str, criterion: OverData) -> None:
    graph = parse(text)
    group = group_of(couple(graph), "a")
    roles = ("out", "scale") if side == "made of nothing" else ("in",)
    for member in group.members:
        array = graph.constant(member.use.name)
        assert array is not None
        if member.role in roles and member.use.name not in ("b", "k"):
            array = array.copy()
            np.moveaxis(array, member.axis, 0)[member.channel == 5] = 0
            graph.set_initializer(member.use.name, array)
    coupling = couple(graph)
    group = group_of(coupling, "a")
    scores = DataScores(criterion).of(coupling, [group], samples(graph))[group]
    assert scores.shape == (8,)
    assert scores.min() >= 0
    assert scores[5] < 0.01 * np.delete(scores, 5).min()


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("name", ["conv", "pool and flatten", "twice in a concat", "transposed", "channels last"])
def test_wanda_is_weights_times_norms(name: str, centred: bool) -> None:
    """One channel at a time: its reader's weights, each times the norm of the input that it multiplies."""
    graph = parse(NETWORKS[name])
    coupling = couple(graph)
    group, data = group_of(coupling, "a"), samples(graph)
    (reader,) = readers(coupling, group)
    (x,) = (
        values[reader.operator.inputs[0]] for values in evaluate(graph, [reader.operator.inputs[0]], [data.feeds(200)])
    )
    last = reader.operator.is_a("Gemm", "MatMul")
    rows = np.moveaxis(x, -1 if last else 1, 0).reshape(x.shape[-1 if last else 1], -1).astype(np.float64)
    loud = rows.std(axis=1) if centred else np.sqrt((rows**2).mean(axis=1))
    weights = np.abs(graph.initializers["u"]).astype(np.float64)
    y = next(evaluate(graph, ["y"], [data.feeds(200)]))["y"].astype(np.float64)
    axis = 1 if y.ndim == 4 and not last else -1
    sigma = np.moveaxis(y, axis, 0).reshape(y.shape[axis], -1).std(axis=1)
    out = 0 if reader.operator.is_a("Conv") else 1
    weights /= sigma.reshape([-1 if a == out else 1 for a in range(weights.ndim)]) * len(sigma)
    inputs = 1 if reader.operator.is_a("Conv") else 0
    worth = weights.sum(axis=tuple(axis for axis in range(weights.ndim) if axis != inputs)) * loud
    repeats = len(worth) // 8
    expected = worth.reshape(2, 8).sum(0) if name == "twice in a concat" else worth.reshape(8, repeats).sum(1)
    (found,) = wanda(coupling, [group], data, centred=centred)[group]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def moments_of(graph: Graph, data: Data) -> tuple[Coupling, Group, SecondMoments]:
    coupling = couple(graph)
    group = group_of(coupling, "a")
    (reader,) = readers(coupling, group)
    ((_, moments),) = second_moments(graph, [reader.operator], data, positions=10_000)
    return coupling, group, moments


GROUPED = "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); r = Relu(a); c = Conv(r, u[6,4,3,3], group=2); y = Conv(c, o[2,6,1,1]) }"


@pytest.mark.parametrize("text", [NETWORKS[n] for n in ("conv", "matmul, transB", "twice in a concat")] + [GROUPED])
def test_optimal_brain_is_the_error_of_the_best_refit(text: str) -> None:
    graph = parse(text)
    data = samples(graph)
    coupling, group, moments = moments_of(graph, data)
    (reader,) = readers(coupling, group)
    x = next(evaluate(graph, [reader.operator.inputs[0]], [data.feeds(200)]))[reader.operator.inputs[0]]
    rows = patches(Matrix(reader.operator, reader.array.shape), x, None, np.random.default_rng(0)).astype(np.float64)
    taps = reader.weights.shape[3]
    expected = np.zeros(len(group))
    for channel in range(len(group)):
        for block, weights, which in zip(rows, reader.weights, reader.channel, strict=True):
            y = block @ weights.reshape(len(weights), -1).T
            kept = np.column_stack([block[:, np.repeat(which != channel, taps)], np.ones(len(block))])
            error = y - kept @ np.linalg.lstsq(kept, y, rcond=None)[0]
            expected[channel] += ((error**2).mean(axis=0) / y.var(axis=0)).mean() / len(rows)
    found = costs(reader, moments, len(group), ridge=1e-9, greedy=False)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4 * expected.max())


def test_of_two_channels_that_say_the_same_one_is_free() -> None:
    graph = parse(NETWORKS["conv"])
    for name in ("w", "b"):
        array = graph.initializers[name].copy()
        array[6] = 2 * array[1]
        graph.set_initializer(name, array)
    coupling, group, moments = moments_of(graph, samples(graph))
    (reader,) = readers(coupling, group)
    at_once = costs(reader, moments, len(group), ridge=1e-6, greedy=False)
    one_by_one = costs(reader, moments, len(group), ridge=1e-6, greedy=True)
    assert set(np.argsort(at_once)[:2]) == {1, 6}
    assert np.argsort(one_by_one)[0] in (1, 6)
    assert max(one_by_one[[1, 6]]) > 1000 * min(one_by_one[[1, 6]])
    assert np.isclose(min(one_by_one), min(at_once), rtol=1e-6), "the first to go is judged alike"


@pytest.mark.skipif(not WITH_TORCH, reason="needs the extra `train`")
def test_taylor_is_the_slope_of_the_loss() -> None:
    """Against central differences of the cross-entropy in ONNX Runtime, sample by sample."""
    from pruneir.training.taylor import taylor

    graph = parse(
        "x[N,3,4,4] -> y[N,5] { a = Conv(x, w[4,3,1,1]); n = BatchNormalization(a, g[4], k[4], m[4], v[4]); r = Sigmoid(n);"
        " p = GlobalAveragePool(r); f = Flatten(p); y = Gemm(f, u[4,5]) }"
    )
    random = np.random.default_rng(0)
    x, labels = random.standard_normal((6, 3, 4, 4)).astype(np.float32), random.integers(0, 5, 6)
    coupling = couple(graph)
    group = group_of(coupling, "a")
    found = taylor(coupling, [group], from_arrays({"x": x, "y": labels}, graph, labels="y"))[group]

    def losses(scale: np.ndarray) -> np.ndarray:
        other = graph.copy()
        other.set_initializer("g", scale.astype(np.float32))
        scores = next(evaluate(other, ["y"], [{"x": x}]))["y"].astype(np.float64)
        return np.asarray(np.log(np.exp(scores).sum(1)) - scores[np.arange(6), labels])

    step, scale = 0.01, graph.initializers["g"].astype(np.float64)
    slopes = [(losses(scale * (1 + step * e)) - losses(scale * (1 - step * e))) / (2 * step) for e in np.eye(4)]
    np.testing.assert_allclose(found, (np.array(slopes) ** 2).mean(axis=1), rtol=0.02, atol=1e-8)


ATTENTION = (
    "x[N,7,6] -> y { q = MatMul(x, wq[6,8]); k = MatMul(x, wk[6,8]); t = Transpose(k, perm=[0,2,1]); s = MatMul(q, t);"
    " p = Softmax(s, axis=2); v = MatMul(x, wv[6,8]); o = MatMul(p, v); y = MatMul(o, wo[8,3]) }"
)


def test_who_cannot_be_judged_is_scored_by_weights_and_says_so() -> None:
    graph = parse(ATTENTION)
    result = parse_pass("filter{criterion=wanda,ratio=0.5}").run(graph, Context(graph, data=samples(graph)))
    notes = {row.name: row.note for row in result.rows}
    assert "scored by l2" in notes["q"]
    assert notes["v"] == ""
    assert {row.name: row.channels_after for row in result.rows} == {"q": 4, "v": 4}
    by_weights = parse_pass("filter{criterion=l2,ratio=0.5}").run(graph, Context(graph))
    assert np.array_equal(result.cuts["wq"][1], by_weights.cuts["wq"][1])


@pytest.mark.parametrize("criterion", OVER_DATA)
def test_without_data_it_says_what_to_give(criterion: str) -> None:
    graph = parse(NETWORKS["conv"])
    with pytest.raises(PruneirError, match="--data"):
        parse_pass(f"filter{{criterion={criterion}}}").run(graph, Context(graph))


def test_samples_are_at_least_one() -> None:
    with pytest.raises(PruneirError, match="samples=0"):
        parse_pass("filter{criterion=wanda,samples=0}")
