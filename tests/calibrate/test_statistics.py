"""Statistics and moments over a data set equal those of all samples at once, however they are streamed."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.calibrate import Matrix, Statistics, channel_statistics, matrix_of, patches, second_moments
from pruneir.calibrate.streaming import BUDGET, Streamer
from pruneir.data import Data, from_arrays
from pruneir.graph import Graph, Operator, parse
from pruneir.onnx_io import evaluate

NET = (
    "x[{batch},3,8,8] -> y { a = Conv(x, w1[6,3,3,3], b1[6], pads=[1,1,1,1]); r = Relu(a); g = Conv(r, w2[8,3,3,3], group=2);"
    " p = GlobalAveragePool(g); f = Flatten(p); y = Gemm(f, w3[8,4]) }"
)
VALUES = {"x": 1, "a": 1, "r": 1, "g": 1, "f": 1, "y": 1}


def images(samples: int, offset: float = 0.0) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((samples, 3, 8, 8)).astype(np.float32) + np.float32(offset)


def network(samples: int, batch: str = "N", offset: float = 0.0) -> tuple[Graph, Data]:
    graph = parse(NET.replace("{batch}", batch))
    return graph, from_arrays({"x": images(samples, offset)}, graph)


def all_at_once(graph: Graph, data: Data, count: int) -> dict[str, np.ndarray]:
    """Every value of the samples that count."""
    names = [name for name in VALUES if name != "x"]
    batches = [batch.feeds for batch in data.batches(200)]
    found = list(evaluate(graph, names, batches))
    joined = {name: np.concatenate([values[name] for values in found])[:count] for name in names}
    return {"x": np.concatenate([batch.feeds["x"][: batch.count] for batch in data.batches()])[:count], **joined}


def matrix(graph: Graph, operator: Operator) -> Matrix:
    found = matrix_of(graph, operator)
    assert isinstance(found, Matrix)
    return found


# samples, the graph's own batch, limit, budget
STREAMS = {
    "one batch": (40, "N", None, BUDGET),
    "several": (200, "N", None, BUDGET),
    "a limit": (200, "N", 77, BUDGET),
    "a batch of 16, the last one filled up": (40, "16", None, BUDGET),
    "a sample and a value at a time": (20, "N", None, 1),
    "two values at a time": (30, "N", None, 40_000),
}


@pytest.mark.parametrize(("samples", "batch", "limit", "budget"), STREAMS.values(), ids=STREAMS)
def test_streamed_equals_at_once(samples: int, batch: str, limit: int | None, budget: int) -> None:
    graph, data = network(samples, batch)
    count = min(samples, limit or samples)
    expected = all_at_once(graph, data, count)
    found = channel_statistics(graph, VALUES, data, limit=limit, budget=budget)
    assert set(found) == set(VALUES)
    for name, x in expected.items():
        rows = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1).astype(np.float64)
        seen = found[name]
        assert seen.count == rows.shape[1]
        np.testing.assert_allclose(seen.mean, rows.mean(1), atol=1e-6)
        np.testing.assert_allclose(seen.variance, rows.var(1), rtol=1e-5)
        np.testing.assert_allclose(seen.square, (rows**2).mean(1), rtol=1e-5)
        np.testing.assert_allclose(seen.minimum, rows.min(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(seen.maximum, rows.max(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(seen.zeros, (rows == 0).mean(1), atol=2 / rows.shape[1])
    assert found["r"].zeros.min() > 0.05, "the ReLU makes zeros"


@pytest.mark.parametrize("budget", [BUDGET, 1], ids=["together", "alone"])
@pytest.mark.parametrize(("samples", "limit"), [(150, None), (150, 70)])
def test_moments_equal_those_of_all_patches(samples: int, limit: int | None, budget: int) -> None:
    graph, data = network(samples)
    values = all_at_once(graph, data, limit or samples)
    linear = [operator for operator in graph.operators if operator.is_a("Conv", "Gemm")]
    found = dict(second_moments(graph, graph.operators, data, limit=limit, positions=10_000, budget=budget))
    assert list(found) == linear
    for operator, moments in found.items():
        rows = patches(matrix(graph, operator), values[operator.inputs[0]], None, np.random.default_rng(0)).astype(
            np.float64
        )
        mean = rows.mean(axis=1)
        assert moments.count == rows.shape[1]
        np.testing.assert_allclose(moments.mean, mean, atol=1e-5)
        gram, expected = moments.gram / moments.count, rows.transpose(0, 2, 1) @ rows / moments.count
        np.testing.assert_allclose(gram, expected, atol=1e-5 * np.abs(expected).max())
        expected -= mean[:, :, None] * mean[:, None, :]
        np.testing.assert_allclose(moments.covariance, expected, atol=1e-5 * np.abs(expected).max())


def test_moments_tell_the_variance_of_the_outputs() -> None:
    graph, data = network(100)
    conv: Operator | None = graph.producer("g")
    assert conv is not None
    ((_, moments),) = second_moments(graph, [conv], data, positions=1000)
    weights = matrix(graph, conv).of(graph.initializers["w2"])
    variance = np.einsum("goi,gij,goj->go", weights, moments.covariance, weights).reshape(-1)
    np.testing.assert_allclose(variance, channel_statistics(graph, ["g"], data)["g"].variance, rtol=1e-4)


def test_a_large_mean_does_not_eat_the_variance() -> None:
    graph, data = network(300, offset=1000.0)
    x = np.concatenate([batch.feeds["x"][: batch.count] for batch in data.batches()]).astype(np.float64)
    found = channel_statistics(graph, ["x"], data)["x"]
    np.testing.assert_allclose(found.variance, x.var(axis=(0, 2, 3)), rtol=1e-9)
    conv = graph.producer("a")
    assert conv is not None
    ((_, moments),) = second_moments(graph, [conv], data, positions=10_000)
    rows = patches(matrix(graph, conv), x, None, np.random.default_rng(0))[0]
    expected = np.cov(rows.T, bias=True)
    np.testing.assert_allclose(moments.covariance[0], expected, atol=1e-5 * np.abs(expected).max())


def test_merging_in_any_order() -> None:
    random = np.random.default_rng(0)
    parts = [Statistics.of(random.standard_normal((n, 4)) * 3 + n) for n in (1, 7, 50)]
    one = parts[0].merged(parts[1]).merged(parts[2])
    other = parts[2].merged(parts[1].merged(parts[0]))
    assert one.count == other.count == 58
    np.testing.assert_allclose(one.variance, other.variance, rtol=1e-12)
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)


def test_the_budget_bounds_a_run() -> None:
    graph, data = network(64)
    streamer = Streamer.over(graph, data, budget=200_000)
    sizes = {"x": 3 * 64, "a": 6 * 64, "r": 6 * 64, "g": 8 * 36, "f": 8, "y": 4}
    held = {"a": 60_000, "g": 150_000}
    runs = streamer.runs(sizes, held)
    assert [name for run in runs for name in run] == list(sizes)
    assert len(runs) == 2
    for run in runs:
        assert sum(4 * sizes[name] * streamer.size + held.get(name, 0) for name in run) <= 200_000
    assert Streamer.over(graph, data, budget=4000).size == 1
    assert Streamer.over(graph, data).size == 64


def test_progress_ends_at_one() -> None:
    graph, data = network(150)
    told: list[float] = []
    channel_statistics(graph, VALUES, data, budget=100_000, progress=lambda _, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert len(told) > 6
