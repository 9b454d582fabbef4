"""Repair from data: what was redundant comes back whole, and nothing is ever made invalid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from pruneir.coupling import couple
from pruneir.data import from_arrays
from pruneir.graph import Graph, check, parse
from pruneir.onnx_io import session
from pruneir.passes.filter import Filter
from pruneir.passes.repair import Repair
from pruneir.pipeline.passes import Context, Result, Uncut
from pruneir.surgery import apply
from pruneir.verify import kept_positions
from support.networks import networks
from support.properties import feeds

SAMPLES = 48
HEAD = "c = Conv(x, w[12,3,3,3], pads=[1,1,1,1]); n = BatchNormalization(c, g[12], b[12], m[12], q[12])"

# What reads the value `r`, half of whose channels are twins of the other half.
TAILS = {
    "conv": "y = Conv(r, v[4,12,3,3], pads=[1,1,1,1])",
    "strided, with bias": "y = Conv(r, v[4,12,3,3], vb[4], strides=[2,2], pads=[1,0,1,2])",
    "conv and norm": "d = Conv(r, v[4,12,1,1]); y = BatchNormalization(d, s[4], t[4], a[4], z[4])",
    "two consumers": "d = Conv(r, v[4,12,1,1]); e = Conv(r, u[4,12,3,3], pads=[1,1,1,1]); y = Add(d, e)",
    "depthwise between": "d = Conv(r, u[12,1,1,1], ub[12], group=12); y = Conv(d, v[4,12,1,1])",
    "transposed": "y = ConvTranspose(r, v[12,4,2,2], strides=[2,2])",
    "pooled and flat": "p = GlobalAveragePool(r); f = Flatten(p); y = Gemm(f, v[12,4], vb[4], alpha=0.5, beta=2.0)",
    "flattened image": "f = Flatten(r); y = Gemm(f, v[4,768], transB=1)",
    "matmul": "t2 = Transpose(r, perm=[0,2,3,1]); y = MatMul(t2, v[12,4])",
    "in a constant node": "k = Constant(value_ints=[0,1,2,3]); h = Conv(r, v[5,12,1,1]); y = Gather(h, k, axis=1)",
}


def twins(tail: str, seed: int = 0) -> Graph:
    """Channels 6 to 11 equal channels 0 to 5."""
    graph = parse(f"x[N,3,8,8] -> y {{ {HEAD}; r = Relu(n); {tail} }}", seed=seed)
    for name in (*"wgbmq", "u" if "group=12" in tail else "", "ub"):
        if name in graph.initializers and len(graph.initializers[name]) == 12:
            array = graph.initializers[name].copy()
            array[6:] = array[:6]
            graph.set_initializer(name, array)
    return graph


def without_twins(graph: Graph) -> Result:
    """The graph without channels 6 to 11 of `w`, nothing absorbed."""
    coupling = couple(graph)
    removed = []
    for group in coupling.groups:
        for member in group.members:
            if member.use.name == "w":
                removed.append((group, np.unique(member.channel[6:])))
    dead = coupling.dead(removed)
    return Result(apply(coupling, dead).graph, kept=lambda: kept_positions(coupling, dead))


def repaired(graph: Graph, cut: Result, samples: int = SAMPLES, **options: Any) -> Result:
    assert cut.kept is not None
    x = {
        name: np.random.default_rng(1).standard_normal((samples, *array.shape[1:])).astype(np.float32)
        for name, array in feeds(graph, 1).items()
    }
    context = Context(graph, uncut=Uncut(graph, cut.kept), data=from_arrays(x, graph))
    result: Result = Repair(**options).run(cut.graph, context)
    return result


def error(a: Graph, b: Graph) -> float:
    """The largest difference of their outputs, as a share of the outputs' size, on fresh samples."""
    runs = [session(graph, threads=1, optimize="none").run(None, feeds(b, 5)) for graph in (a, b)]
    return max(float(np.abs(p - q).max() / np.abs(q).max()) for p, q in zip(*runs, strict=True))


def missed(a: Graph, b: Graph) -> float:
    """The mean square of what an output misses, as a share of the output's variance, on fresh samples."""
    (p,), (q,) = (session(graph, threads=1, optimize="none").run(None, feeds(b, 50)) for graph in (a, b))
    return float(np.square(p - q).mean() / q.var())


@pytest.mark.parametrize("reconstruct", ["least-squares", "optimal-brain"])
@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_twins_stand_in_for_each_other(tail: str, reconstruct: str) -> None:
    graph = twins(tail)
    cut = without_twins(graph)
    assert error(cut.graph, graph) > 0.05
    rows = 600 if "Flatten(r)" in tail else SAMPLES  # 384 numbers a sample, which is one row
    result = repaired(graph, cut, rows, reconstruct=reconstruct)
    check(result.graph)
    assert error(result.graph, graph) < 1e-4, result.notes
    assert result.changed <= result.graph.initializers.keys()
    changed = {n for n, array in result.graph.initializers.items() if array is not cut.graph.initializers.get(n)}
    assert changed == result.changed


@pytest.mark.parametrize("reconstruct", ["least-squares", "optimal-brain"])
@pytest.mark.parametrize("tail", ["conv", "transposed", "pooled and flat", "flattened image", "matmul"])
def test_weights_that_are_zero_stay_zero(tail: str, reconstruct: str) -> None:
    graph, sparse, zeros = sparsified(tail)
    result = repaired(graph, sparse, reconstruct=reconstruct)
    assert not result.graph.initializers["v"][zeros].any()
    assert missed(result.graph, graph) < 0.6 * missed(sparse.graph, graph)


def test_without_data_sparse_layers_stay() -> None:
    graph, sparse, _ = sparsified("matmul")
    assert sparse.kept is not None
    result = Repair().run(sparse.graph, Context(graph, uncut=Uncut(graph, sparse.kept)))
    assert not result.changed
    assert "sparse" in result.notes[-1]


def sparsified(tail: str) -> tuple[Graph, Result, np.ndarray]:
    """The graph, what is left without twins and half of the weights behind, and which of these are zero."""
    graph = twins(TAILS[tail])
    cut = without_twins(graph)
    zeros = np.random.default_rng(5).random(cut.graph.initializers["v"].shape) < 0.5
    sparse = cut.graph.copy()
    sparse.set_initializer("v", np.where(zeros, 0, sparse.initializers["v"]))
    return graph, replace(cut, graph=sparse), zeros


def test_combinations_are_refitted_too() -> None:
    """A channel that is the mean of two others, with no activation behind."""
    graph = parse("x[N,3,8,8] -> y { r = Conv(x, w[12,3,3,3], wb[12]); y = Conv(r, v[4,12,3,3], pads=[1,1,1,1]) }")
    w, b = graph.initializers["w"].copy(), graph.initializers["wb"].copy()
    w[6:], b[6:] = (w[:6] + w[[1, 2, 3, 4, 5, 0]]) / 2, (b[:6] + b[[1, 2, 3, 4, 5, 0]]) / 2
    graph.set_initializer("w", w)
    graph.set_initializer("wb", b)
    cut = without_twins(graph)
    assert error(cut.graph, graph) > 0.05
    assert error(repaired(graph, cut).graph, graph) < 1e-4


def test_a_weight_of_two_operators_is_refitted_once_for_both() -> None:
    source = (
        "x[N,3,8,8] -> y { "
        + HEAD
        + "; r = Relu(n); a1 = Conv(r, v[4,12,1,1]); p = MaxPool(r, kernel_shape=[3,3]); a2 = Conv(p, v); z = Relu(a1); y = Concat(z, z, axis=1); y2 = Relu(a2) }"
    )
    graph = parse(source.replace("-> y {", "-> y, y2 {"))
    for name in "wgbmq":
        array = graph.initializers[name].copy()
        array[6:] = array[:6]
        graph.set_initializer(name, array)
    cut = without_twins(graph)
    result = repaired(graph, cut)
    assert {op.inputs[1] for op in result.graph.operators if op.is_a("Conv")} == {"w", "v"}
    assert error(cut.graph, graph) > 0.05
    assert error(result.graph, graph) < 1e-4


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "means": lambda: {"reconstruct": "none", "batchnorm": False},
    "statistics": lambda: {"reconstruct": "none", "means": False},
    "weights": lambda: {"means": False, "batchnorm": False},
    "uncut inputs": lambda: {"reconstruct": "optimal-brain", "batchnorm": False},
    "all": dict,
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_part_restores_output_means(part: Callable[[], dict[str, Any]]) -> None:
    """Means over the data that was given, behind a norm, where each part puts them right."""
    tail = "d = Conv(r, v[4,12,1,1]); y = BatchNormalization(d, s[4], t[4], a[4], z[4])"
    graph = parse(f"x[N,3,8,8] -> y {{ {HEAD}; r = Relu(n); {tail} }}")
    cut = Filter(absorb=False).run(graph, Context(graph))
    result = repaired(graph, cut, positions=64, **part())
    x = {"x": np.random.default_rng(1).standard_normal((SAMPLES, 3, 8, 8)).astype(np.float32)}
    means = [session(g, threads=1).run(None, x)[0].mean(axis=(0, 2, 3)) for g in (graph, cut.graph, result.graph)]
    assert np.abs(means[2] - means[0]).max() < 0.02 * np.abs(means[1] - means[0]).max()


def test_statistics_are_those_that_the_uncut_network_would_have() -> None:
    """Nothing was lost: the norm keeps the statistics of its training, whatever the samples' own are."""
    graph = twins(TAILS["conv and norm"])
    cut = without_twins(graph)
    result = repaired(graph, cut)
    for name in "az":
        np.testing.assert_allclose(result.graph.initializers[name], graph.initializers[name], rtol=1e-3, atol=1e-3)


def test_a_fixed_batch_and_few_samples() -> None:
    graph = parse("x[1,3,8,8] -> y { r = Conv(x, w[12,3,3,3]); y = Conv(r, v[4,12,1,1]) }")
    w = graph.initializers["w"].copy()
    w[6:] = w[:6]
    graph.set_initializer("w", w)
    cut = without_twins(graph)
    for samples in (1, 3, 20):
        assert error(repaired(graph, cut, samples).graph, graph) < 1e-4


def test_half_precision_keeps_its_type() -> None:
    graph = parse(
        f"x[N,3,8,8] -> y {{ h = Cast(x, to=10); {HEAD.replace('(x', '(h').replace('], pads', ']:f16, pads').replace('12])', '12]:f16)').replace('12],', '12]:f16,')}; r = Relu(n); o = Conv(r, v[4,12,1,1]:f16); y = Cast(o, to=1) }}"
    )
    cut = Filter(absorb=False).run(graph, Context(graph))
    result = repaired(graph, cut)
    assert result.graph.initializers["v"].dtype == np.float16
    assert error(result.graph, graph) < error(cut.graph, graph)


def test_a_refit_that_does_not_help_is_not_done() -> None:
    """200 features and 14 rows of noise: what fits these rows says nothing of those held out."""
    graph = parse("x[N,600] -> y { h = Gemm(x, w[600,400]); y = Gemm(h, v[400,3]) }")
    cut = Filter(ratio=0.5, absorb=False).run(graph, Context(graph))
    result = repaired(graph, cut, samples=16, means=False, damping=1e-8)
    assert result.changed == frozenset()
    assert result.notes[-1] == "1 layer kept as before, a refit does not help on held-out samples: 'y'"


def test_several_inputs() -> None:
    graph = parse(
        "x[N,3,8,8], z[N,5] -> y { r = Conv(x, w[12,3,3,3]); p = GlobalAveragePool(r); f = Flatten(p); "
        "c = Concat(z, f, axis=1); y = Gemm(c, v[17,4]) }"
    )
    w = graph.initializers["w"].copy()
    w[6:] = w[:6]
    graph.set_initializer("w", w)
    cut = without_twins(graph)
    assert error(cut.graph, graph) > 0.05
    assert error(repaired(graph, cut, 96).graph, graph) < 1e-4


@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
@given(networks(layers=8))
def test_any_network_stays_valid_and_the_same_each_time(graph: Graph) -> None:
    cut = Filter(ratio=0.5).run(graph, Context(graph))
    if not cut.cuts:
        return
    results = [repaired(graph, cut, samples=12, positions=8) for _ in range(2)]
    check(results[0].graph)
    assert [op.label for op in results[0].graph.operators] == [op.label for op in results[1].graph.operators]
    for name, array in results[0].graph.initializers.items():
        np.testing.assert_array_equal(array, results[1].graph.initializers[name])
    assert all(
        array.shape == results[0].graph.initializers[n].shape
        for n, array in cut.graph.initializers.items()
        if n in results[0].graph.initializers
    )
    merged = Repair().run(cut.graph, Context(graph, uncut=Uncut(graph, cut.kept or dict)))
    check(merged.graph)
    for result in (results[0], merged):
        for output in session(result.graph, threads=1).run(None, feeds(graph, 2)):
            assert np.isfinite(output).all()
