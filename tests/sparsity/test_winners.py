"""Masks on activations: what they compute, that they are read back, and the multiply-accumulates that they leave."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from pruneir.data import Data, from_arrays
from pruneir.graph import Graph, check, parse
from pruneir.onnx_io import evaluate, to_model
from pruneir.passes.fold import Fold
from pruneir.pipeline.passes import Context
from pruneir.sparsity.operands import operand_macs
from pruneir.sparsity.rates import with_static, with_winners
from pruneir.sparsity.sites import Site, sites
from pruneir.sparsity.winners import count, stride, winners
from pruneir.verify import random_feeds

CASES = {
    "matrix": "x[N,12] -> y { h = Gemm(x, w1[12,20]); y = Gemm(h, w2[20,5]) }",
    "conv": "x[N,3,8,8] -> y { h = Conv(x, w1[8,3,3,3]); y = Conv(h, w2[4,8,3,3]) }",
    "conv, fixed batch": "x[2,3,8,8] -> y { h = Conv(x, w1[8,3,3,3]); y = Conv(h, w2[4,8,3,3]) }",
    "image of any size": "x[N,3,H,W] -> y { h = Conv(x, w1[8,3,3,3]); y = Conv(h, w2[4,8,3,3]) }",
    "sequence": "x[N,6,12] -> y { h = MatMul(x, w1[12,20]); y = MatMul(h, w2[20,5]) }",
    "signal": "x[N,2,40] -> y { h = Conv(x, w1[6,2,5]); y = ConvTranspose(h, w2[6,3,5], strides=[2]) }",
    "opset 11": "opset 11; x[N,3,8,8] -> y { h = Conv(x, w1[8,3,3,3]); y = Conv(h, w2[4,8,3,3]) }",
    "opset 10, any size": "opset 10; x[N,3,H,W] -> y { h = Conv(x, w1[8,3,3,3]); y = Conv(h, w2[4,8,3,3]) }",
    "double": "x[N,12]:f64 -> y:f64 { h = MatMul(x, w1[12,20]:f64); y = MatMul(h, w2[20,5]:f64) }",
    "weight on the left": "x[N,6,12] -> y { h = MatMul(w1[1,8,6], x); y = MatMul(w2[1,4,8], h) }",
}
RATES = (0.01, 0.3, 0.95)


def only_site(graph: Graph) -> Site:
    (site,) = sites(graph, Context(graph))
    return site


def masked(h: np.ndarray, rate: float, step: int) -> np.ndarray:
    """What a mask must leave, sample by sample, without TopK."""
    result = h.copy()
    for sample in result:
        flat = np.abs(sample).reshape(-1)[::step]
        least = np.sort(flat)[len(flat) - count(rate, len(flat))]
        sample[np.abs(sample) < least] = 0
    return result


@pytest.mark.parametrize(("case", "rate", "sample"), list(product(CASES, RATES, (1.0, 0.1))))
def test_each_sample_keeps_its_largest(case: str, rate: float, sample: float) -> None:
    graph = parse(CASES[case])
    site = only_site(graph)
    after, masks = with_winners(graph, {site: rate}, sample, at_least=1)
    check(after)
    mask = masks[site]
    fed = random_feeds(graph, seed=3)
    (found,) = evaluate(after, [site.value, mask.output, "y"], [fed])
    np.testing.assert_array_equal(found[mask.output], masked(found[site.value], rate, mask.step))
    (expected,) = ReferenceEvaluator(to_model(after)).run(["y"], fed)
    alike = np.isclose(found["y"], np.asarray(expected), rtol=1e-3, atol=1e-4)
    assert alike.mean() > 0.999, "but where rounding decides who wins, every runtime computes the same"
    if sample == 1:
        size = found[site.value][0].size
        left = np.count_nonzero(found[mask.output]) / len(found[mask.output])
        assert left == count(rate, size)


@pytest.mark.parametrize(("case", "rate", "sample"), list(product(CASES, RATES, (1.0, 0.1))))
def test_the_form_is_read_back_also_after_the_clean_up(case: str, rate: float, sample: float) -> None:
    graph = parse(CASES[case])
    site = only_site(graph)
    after, masks = with_winners(graph, {site: rate}, sample, at_least=1)
    folded = Fold().run(after, Context(after)).graph
    for network in (after, folded):
        (found,) = winners(network)
        assert (found.source, found.output) == (site.value, masks[site].output)
        assert (found.kept, found.step) == (masks[site].kept, masks[site].step)
        assert network.users(found.output)[0].outputs == ("y",)


NO_MASK = {
    "other value": "x[N,8] -> y { a = Abs(x); b = Neg(x); l = Less(a, 0.5); y = Where(l, 0.0, b) }",
    "keeps the losers": "x[N,8] -> y { a = Abs(x); l = Greater(a, 0.5); y = Where(l, 0.0, x) }",
    "not zero": "x[N,8] -> y { a = Abs(x); l = Less(a, 0.5); y = Where(l, 1.0, x) }",
    "no magnitudes": "x[N,8] -> y { l = Less(x, 0.5); y = Where(l, 0.0, x) }",
    "first of k": "x[N,8] -> y { a = Abs(x); v, _ = TopK(a, {3}, axis=1); s = Slice(v, {0}, {1}, {1}); l = Less(a, s); y = Where(l, 0.0, x) }",
    "smallest": "x[N,8] -> y { a = Abs(x); v, _ = TopK(a, {3}, axis=1, largest=0); s = Slice(v, {-1}, {9}, {1}); l = Less(a, s); y = Where(l, 0.0, x) }",
    "over samples": "x[N,8] -> y { a = Abs(x); v, _ = TopK(a, {1}, axis=0); l = Less(a, v); y = Where(l, 0.0, x) }",
    "of the first elements": (
        "x[N,8] -> y { a = Abs(x); e = Slice(a, {0}, {6}, {1}, {2}); v, _ = TopK(e, {2}, axis=1);"
        " s = Slice(v, {-1}, {9223372036854775807}, {1}); l = Less(a, s); y = Where(l, 0.0, x) }"
    ),
    "not from the first element on": (
        "x[N,9] -> y { a = Abs(x); e = Slice(a, {1}, {9223372036854775807}, {1}, {3}); v, _ = TopK(e, {2}, axis=1);"
        " s = Slice(v, {-1}, {9223372036854775807}, {1}); l = Less(a, s); y = Where(l, 0.0, x) }"
    ),
    "by column": "x[N,8] -> y { a = Abs(x); l = Less(a, t[8]); y = Where(l, 0.0, x) }",
}


@pytest.mark.parametrize("text", NO_MASK.values(), ids=NO_MASK)
def test_what_is_no_mask_is_not_taken_for_one(text: str) -> None:
    assert winners(parse(text)) == []


SITES = {
    "input": ("x[N,8] -> y { y = Gemm(x, w[8,4]) }", {}),
    "input, reshaped": ("x[N,2,4] -> y { f = Flatten(x); r = Relu(f); y = Gemm(r, w[8,4]) }", {}),
    "residual": (
        "x[N,8] -> y { a = Gemm(x, w1[8,8]); b = Gemm(a, w2[8,8]); c = Add(a, b); y = Gemm(c, w3[8,4]) }",
        {"a": ["b"], "c": ["y"]},
    ),
    "two readers": (
        "x[N,8] -> y, z { a = Gemm(x, w1[8,8]); y = Gemm(a, w2[8,8]); z = Gemm(a, w3[8,8]) }",
        {"a": ["y", "z"]},
    ),
    "two activations": ("x[N,8,8] -> y { a = MatMul(x, w1[8,8]); y = MatMul(a, a) }", {}),
    "behind a recurrence": (
        "x[S,N,4] -> y { a, _, _ = LSTM(x, w[1,32,4], r[1,32,8], hidden_size=8); s = Squeeze(a, {1}); y = MatMul(s, w2[8,3]) }",
        {"s": ["y"]},
    ),
    "half precision": ("x[N,8]:f16 -> y:f16 { a = MatMul(x, w1[8,8]:f16); y = MatMul(a, w2[8,8]:f16) }", {}),
}


@pytest.mark.parametrize(("text", "expected"), SITES.values(), ids=SITES)
def test_sites_are_what_layers_read_of_layers(text: str, expected: dict[str, list[str]]) -> None:
    graph = parse(text)
    found = {site.value: [op.label for op, _ in site.readers] for site in sites(graph, Context(graph))}
    assert found == expected


def test_other_readers_see_the_whole_value() -> None:
    graph = parse(SITES["residual"][0])
    site = sites(graph, Context(graph))[0]
    after, masks = with_winners(graph, {site: 0.5})
    (add,) = [op for op in after.operators if op.is_a("Add")]
    assert add.inputs == ("a", "b")
    assert after.users(masks[site].output)[0].label == "b"


def test_a_second_mask_takes_the_place_of_the_first() -> None:
    graph = parse(CASES["conv"])
    once, _ = with_winners(graph, {only_site(graph): 0.2})
    twice, _ = with_winners(once, {only_site(once): 0.6})
    direct, _ = with_winners(graph, {only_site(graph): 0.6})
    assert len(twice.operators) == len(direct.operators)
    assert [(mask.source, mask.kept) for mask in winners(twice)] == [("h", count(0.6, 8 * 36))]


def test_a_static_threshold_is_the_mean_of_the_samples_thresholds() -> None:
    graph = parse(CASES["matrix"])
    site = only_site(graph)
    data = feeds_as_data(graph)
    after, masks = with_static(graph, {site: 0.25}, data)
    check(after)
    (found,) = evaluate(graph, ["h"], [batch.feeds for batch in data.batches(64)])
    expected = np.sort(np.abs(found["h"]), axis=1)[:, -5].mean()
    assert after.constant(masks[site].threshold) == pytest.approx(expected, rel=1e-5)
    assert winners(after) == [masks[site]]


def feeds_as_data(graph: Graph) -> Data:
    return from_arrays(dict(random_feeds(graph, seed=1)), graph)


@pytest.mark.parametrize(
    ("share", "length", "step"),
    [(0.1, 7, 10), (0.1, 8, 11), (0.1, 28, 11), (0.1, 110, 13), (0.1, None, 10), (0.5, 9, 2), (1, 4, 1)],
)
def test_a_sample_sees_every_column(share: float, length: int | None, step: int) -> None:
    assert stride(share, length) == step
    assert length is None or len(set(np.arange(0, 100 * length, step) % length)) == length


COUNTED = {
    **CASES,
    "grouped": "x[N,4,8,8] -> y { h = Conv(x, w1[8,4,3,3]); y = Conv(h, w2[6,4,3,3], group=2, strides=[2,2], pads=[1,1,1,1]) }",
    "depthwise": "x[N,4,8,8] -> y { h = Conv(x, w1[8,4,1,1]); y = Conv(h, w2[8,1,3,3], b2[8], group=8, dilations=[2,2]) }",
    "transposed": "x[N,4,4,4] -> y { h = Conv(x, w1[6,4,1,1]); y = ConvTranspose(h, w2[6,2,3,3], group=2, strides=[2,2]) }",
    "turned": "x[N,8] -> y { h = Gemm(x, w1[6,8], b1[6], transB=1); y = Gemm(h, w2[5,6], b2[5], transB=1, alpha=0.5) }",
}


@pytest.mark.parametrize("text", COUNTED.values(), ids=COUNTED)
def test_counts_are_those_of_unrolled_layers(text: str) -> None:
    """A layer is linear in its input and its weight: its products are its responses to one element at a time."""
    graph = parse(text)
    graph.set_initializer("w2", with_zeros(graph.initializers["w2"], 0.4, seed=5))
    after, masks = with_winners(graph, {only_site(graph): 0.3})
    fed = random_feeds(graph, seed=2)
    layer = next(operator for operator in after.operators if operator.outputs == ("y",))
    (values,) = evaluate(after, [masks_output(after)], [fed])
    found = operand_macs(after, [fed]).layers[-1]
    samples = len(fed["x"])
    both, weights = products(layer_graph(after, layer.label), values[masks_output(after)], after.initializers["w2"])
    assert found.both == pytest.approx(both / samples, rel=1e-6)
    dense, _ = products(
        layer_graph(after, layer.label),
        np.ones_like(values[masks_output(after)]),
        np.ones_like(after.initializers["w2"]),
    )
    assert found.dense * samples >= dense
    if "pads" not in text:
        assert found.dense * samples == dense
        assert found.weights * samples == pytest.approx(weights, rel=1e-6)
    assert masks
    assert found.inputs == pytest.approx(
        np.count_nonzero(values[masks_output(after)]) / values[masks_output(after)].size
    )


def masks_output(graph: Graph) -> str:
    return winners(graph)[0].output


def with_zeros(array: np.ndarray, share: float, seed: int) -> np.ndarray:
    return np.asarray(array * (np.random.default_rng(seed).random(array.shape) >= share).astype(array.dtype))


def layer_graph(graph: Graph, label: str) -> Graph:
    """The layer alone: data `v`, weight `k`, both fed."""
    (layer,) = [operator for operator in graph.operators if operator.label == label]
    alone = Graph()
    alone.header.opset_import.add(domain="", version=graph.opset())
    alone.header.ir_version = 8
    swapped = layer.inputs[0] == "w2"
    inputs = ("k", "v") if swapped else ("v", "k")
    alone.inputs += ["v", "k"]
    alone.outputs.append("y")
    for name in ("v", "k"):
        alone.declare(name, onnx.TensorProto.FLOAT, None)
    alone.declare("y", onnx.TensorProto.FLOAT, None)
    alone.add(layer.with_(inputs=inputs).with_attributes(alpha=None))
    return alone


def products(alone: Graph, data: np.ndarray, weight: np.ndarray) -> tuple[int, int]:
    """Products of which neither operand is zero, and those whose weight is not, one entry of the weight at a time."""

    def singles() -> Iterator[np.ndarray]:
        for index in zip(*np.nonzero(weight), strict=True):
            single = np.zeros(weight.shape, np.float32)
            single[index] = 1
            yield single

    def counted(x: np.ndarray) -> int:
        found = evaluate(alone, ["y"], ({"v": x, "k": single} for single in singles()))
        return sum(round(float(made["y"].sum(dtype=np.float64))) for made in found)

    return counted((data != 0).astype(np.float32)), counted(np.ones_like(data, np.float32))


@pytest.mark.parametrize(
    ("case", "sample", "rate"), [("matrix", 1.0, 0.3), ("conv", 1.0, 86 / 288), ("conv", 0.1, 8 / 27)]
)
def test_dropout_shrinks_with_the_winner_rate(case: str, sample: float, rate: float) -> None:
    pytest.importorskip("torch")
    from pruneir.pipeline.plan import Plan
    from pruneir.training.dropout import with_dropout
    from pruneir.training.options import Training

    graph = parse(CASES[case])
    after, _ = with_winners(graph, {only_site(graph): 0.3}, sample, at_least=1)
    at = tuple(operator.label for operator in graph.operators if operator.outputs == ("y",))
    _, ratios = with_dropout(after, Training(dropout=0.5, dropout_at=at), Plan())
    assert list(ratios.values()) == pytest.approx([0.5 * rate**0.5])


@pytest.mark.parametrize(("channels", "step"), [(1, 1), (8, 1), (11, 2), (40, 8), (400, 10)])
def test_a_sample_has_256_elements(channels: int, step: int) -> None:
    graph = parse(f"x[N,1,9,9] -> y {{ h = Conv(x, w1[{channels},1,3,3]); y = Conv(h, w2[2,{channels},1,1]) }}")
    site = only_site(graph)
    _, masks = with_winners(graph, {site: 0.5}, 0.1)
    assert masks[site].step == step
