"""`unfold-bn`: where BatchNormalizations go, that outputs stay, and that their scales are those that were folded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.data import Data, from_arrays
from pruneir.errors import PruneirError
from pruneir.graph import Graph, check, parse
from pruneir.onnx_io import evaluate, load
from pruneir.passes.unfold_bn import UnfoldBatchNorm
from pruneir.pipeline.passes import Context, Result
from pruneir.verify import verify

MODELS = Path(__file__).parents[2] / "models"
CALIBRATION = MODELS / "data/mnist_calib_256.npz"
RESNET = MODELS / "mnist_resnet/mnist_resnet_plain.onnx"


def samples(graph: Graph, count: int = 96, seed: int = 0) -> Data:
    random = np.random.default_rng(seed)
    arrays = {}
    for name in graph.data_inputs:
        known = graph.type_of(name)
        assert known is not None
        assert known.shape is not None
        arrays[name] = random.standard_normal((count, *known.shape[1:]))  # type: ignore[arg-type]
    return from_arrays(arrays, graph)


def unfold(graph: Graph, data: Data | None = None, **options: bool) -> Result:
    before = dict(graph.initializers)
    result: Result = UnfoldBatchNorm(**options).run(graph, Context(graph, data=data or samples(graph)))
    check(result.graph)
    assert graph.initializers == before
    assert set(result.graph.initializers) - set(before) == result.changed
    assert (result.graph.inputs, result.graph.outputs) == (graph.inputs, graph.outputs)
    return result


def normed(graph: Graph) -> set[str]:
    """The values that a BatchNormalization makes."""
    return {operator.outputs[0] for operator in graph.operators if operator.is_a("BatchNormalization")}


# graph → values that a BatchNormalization makes afterwards
PLACES = {
    "conv": ("x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3], b[8]); r = Relu(c); y = Conv(r, u[4,8,1,1]) }", "c"),
    "1-D": ("x[N,3,6] -> y { c = Conv(x, w[8,3,3]); y = Conv(c, u[4,8,1]) }", "c"),
    "depthwise": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,1,1]); d = Conv(c, v[8,1,3,3], group=8); y = Conv(d, u[4,8,1,1]) }",
        "c d",
    ),
    "transposed": ("x[N,3,6,6] -> y { c = ConvTranspose(x, w[3,8,3,3]); y = Conv(c, u[4,8,1,1]) }", "c"),
    "gemm": ("x[N,5] -> y { c = Gemm(x, w[5,8], b[8]); r = Relu(c); y = Gemm(r, u[8,4]) }", "c"),
    "matmul and its bias": ("x[N,5] -> y { c = MatMul(x, w[5,8]); d = Add(c, b[8]); y = MatMul(d, u[8,4]) }", "d"),
    "a bias of channels": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]); d = Add(c, b[1,8,1,1]); y = Conv(d, u[4,8,1,1]) }",
        "d",
    ),
    "several readers": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,1,1]); r = Relu(c); s = Add(r, c); y = Conv(s, u[4,8,1,1]) }",
        "c",
    ),
    "residual": (
        "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); b = Conv(a, v[8,8,1,1]); s = Add(a, b); y = Conv(s, u[4,8,1,1]) }",
        "a b",
    ),
    "there already": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]); n = BatchNormalization(c, g[8], b[8], m[8], v[8]); y = Conv(n, u[4,8,1,1]) }",
        "n",
    ),
    "there already, behind a bias": (
        "x[N,5] -> y { c = MatMul(x, w[5,8]); d = Add(c, k[8]); n = BatchNormalization(d, g[8], b[8], m[8], v[8]); y = MatMul(n, u[8,4]) }",
        "n",
    ),
    "not behind a gate": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,1,1]); p = GlobalAveragePool(c); q = Conv(p, s[2,8,1,1]); r = Relu(q);"
        " t = Conv(r, e[8,2,1,1]); h = HardSigmoid(t); m = Mul(c, h); y = Conv(m, u[4,8,1,1]) }",
        "c q",
    ),
    "behind what a swish multiplies with itself": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,1,1]); h = Sigmoid(c); m = Mul(c, h); y = Conv(m, u[4,8,1,1]) }",
        "c",
    ),
    "not behind what cannot be cut": ("x[N,3,6,6] -> y { c = Conv(x, w[8,3,1,1]); y = Relu(c) }", ""),
    "half precision": (
        "x[N,3,6,6]:f16 -> y:f16 { c = Conv(x, w[8,3,3,3]:f16, b[8]:f16); r = Relu(c); y = Conv(r, u[4,8,1,1]:f16) }",
        "c",
    ),
    "double precision": (
        "x[N,5]:f64 -> y:f64 { c = Gemm(x, w[5,8]:f64, b[8]:f64); r = Relu(c); y = Gemm(r, u[8,4]:f64) }",
        "c",
    ),
}


@pytest.mark.parametrize(("text", "expected"), PLACES.values(), ids=PLACES)
def test_it_changes_nothing_but_where_a_scale_lives(text: str, expected: str) -> None:
    graph = parse(text)
    result = unfold(graph)
    assert normed(result.graph) == set(expected.split())
    other = [batch.feeds for batch in samples(graph, 32, seed=1).batches()]
    found = verify(graph, result.graph, other)
    assert found.ok, found
    assert {v for v in graph.values if graph.producer(v)} <= {
        v for v in result.graph.values if result.graph.producer(v)
    }


def test_everywhere_is_in_front_of_outputs_and_at_gates_too() -> None:
    graph = parse("x[N,3,6,6] -> y { c = Conv(x, w[8,3,1,1]); r = Relu(c); y = Conv(r, u[4,8,1,1]) }")
    result = unfold(graph, everywhere=True)
    assert normed(result.graph) == {"c", "y"}
    assert verify(graph, result.graph, [samples(graph, 16).feeds(16)]).ok


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_parameters_are_the_statistics(kind: str) -> None:
    text = "x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3], b[8]); r = Relu(c); y = Conv(r, u[4,8,1,1]) }"
    graph = parse(text if kind == "f32" else text.replace("]", "]:f16").replace("-> y", "-> y:f16"))
    weights = graph.initializers["w"].copy()
    weights[3] = 0
    graph.set_initializer("w", weights)
    data = samples(graph)
    result = unfold(graph, data).graph
    (c,) = (values["c"].astype(np.float64) for values in evaluate(graph, ["c"], [data.feeds(96)]))
    scale, bias, mean, variance = (result.initializers[f"c.bn.{word}"] for word in ("scale", "bias", "mean", "var"))
    assert {array.dtype for array in (scale, bias, mean, variance)} == {weights.dtype}
    coarse = 1e-3 if kind == "f16" else 1e-6
    deviation = c.std(axis=(0, 2, 3))
    np.testing.assert_allclose(mean, c.mean(axis=(0, 2, 3)), rtol=coarse, atol=coarse)
    assert np.array_equal(mean, bias)
    live = np.arange(8) != 3
    np.testing.assert_allclose(scale[live], deviation[live], rtol=0.035 if kind == "f16" else 1e-5)
    assert scale[3] < 0.02 * scale[live].min(), "a channel that is constant is the first to go"
    norm = result.producer("c")
    assert norm is not None
    ratio = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + norm.attribute("epsilon"))
    np.testing.assert_allclose(ratio, 1, atol=1e-6)


REFUSED = {
    "channels on the last axis": (
        "x[N,7,5] -> y { c = MatMul(x, w[5,8]); r = Relu(c); y = MatMul(r, u[8,4]) }",
        "PIR025",
    ),
    "weights at run time": (
        "x[N,3,6,6], k[8,3,1,1] -> y { c = Conv(x, k); r = Relu(c); y = Conv(r, u[4,8,1,1]) }",
        "PIR023",
    ),
    "infinite outputs": (
        "x[N,5] -> y { c = Gemm(x, w[5,8]); y = Gemm(c, u[8,4]) }",
        "PIR026",
    ),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(text: str, code: str) -> None:
    graph = parse(text)
    if code == "PIR026":
        graph.set_initializer("w", np.full((5, 8), 1e38, np.float32))
    arrays = {"x": np.ones((8, *(graph.type_of("x").shape or ())[1:]), np.float32)}  # type: ignore[union-attr,misc]
    arrays |= {"k": np.ones((8, 3, 1, 1), np.float32)} if "k" in graph.inputs else {}
    result = unfold(graph, from_arrays(arrays, graph))
    assert code in {refusal.code for refusal in result.refusals}
    assert not normed(result.graph)


def test_without_data_it_says_what_to_give() -> None:
    graph = parse(PLACES["conv"][0])
    with pytest.raises(PruneirError, match="--data"):
        UnfoldBatchNorm().run(graph, Context(graph))


def test_samples_are_at_least_one() -> None:
    with pytest.raises(PruneirError, match="samples=0"):
        UnfoldBatchNorm(samples=0)


def test_a_convolution_of_old_opsets_that_two_names_collide_with() -> None:
    graph = parse(
        "x[N,3,6,6] -> y { c = Conv(x, c.linear[8,3,1,1], c.bn.scale[8]); r = Relu(c); y = Conv(r, u[4,8,1,1]) }"
    )
    result = unfold(graph)
    assert normed(result.graph) == {"c"}
    assert verify(graph, result.graph, [samples(graph, 16).feeds(16)]).ok


def ranks(numbers: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(numbers)).astype(np.float64)


@pytest.mark.slow
def test_scales_that_were_folded_come_back() -> None:
    original = load(RESNET)
    unfolded = pruneir.optimize(original, passes=["fold-bn", "unfold-bn"], data=CALIBRATION)
    assert unfolded.ok
    pairs = []
    for norm in original.operators:
        new = unfolded.graph.producer(norm.outputs[0])
        if norm.is_a("BatchNormalization") and new is not None and new.is_a("BatchNormalization"):
            pairs.append((original.initializers[norm.inputs[1]], unfolded.graph.initializers[new.inputs[1]]))
    assert len(pairs) == 15
    before, after = (np.concatenate(each) for each in zip(*pairs, strict=True))
    assert np.corrcoef(ranks(np.abs(before)), ranks(np.abs(after)))[0, 1] > 0.98
    assert np.median(np.abs(after - np.abs(before)) / np.abs(before)) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mnist_resnet/mnist_resnet_plain.onnx", "mnist_conv_cntk.onnx"])
def test_slimming_works_behind_it(model: str) -> None:
    passes = ["fold-bn", "unfold-bn", "slim{ratio=0.3}", "fold-bn"]
    small = pruneir.optimize(MODELS / model, passes=passes, data=CALIBRATION)
    assert small.ok
    assert small.report["macs"]["after"] < 0.8 * small.report["macs"]["before"]
    assert not normed(small.graph)
