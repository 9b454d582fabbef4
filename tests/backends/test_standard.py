"""Operators of other domains: in ONNX's own words they compute what ONNX Runtime's do, or they stay."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.backends.lowering.standard import standard
from pruneir.graph import parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds

WRITTEN = {
    "Gelu": "x[2,5] -> y { y = com.microsoft::Gelu(x) }",
    "BiasGelu": "x[2,3,5] -> y { y = com.microsoft::BiasGelu(x, b[5]) }",
    "FastGelu": "x[2,5] -> y { y = com.microsoft::FastGelu(x) }",
    "FastGelu of a sum": "x[2,5] -> y { y = com.microsoft::FastGelu(x, b[5]) }",
    "QuickGelu": "x[2,5] -> y { y = com.microsoft::QuickGelu(x, alpha=1.5) }",
    "FusedConv": 'x[1,3,6,6] -> y { y = com.microsoft::FusedConv(x, w[4,3,3,3], b[4], activation="Relu", pads=[1,1,1,1]) }',
    "FusedConv of a sum": (
        "x[1,3,6,6], z[1,4,4,4] -> y { y = com.microsoft::FusedConv(x, w[4,3,3,3], b[4], z,"
        ' activation="LeakyRelu", activation_params=[0.2]) }'
    ),
    "FusedConv, clipped": (
        "x[1,3,6,6] -> y { y = com.microsoft::FusedConv(x, w[4,3,3,3],"
        ' activation="Clip", activation_params=[-0.1,0.3]) }'
    ),
    "FusedGemm": 'x[2,5] -> y { y = com.microsoft::FusedGemm(x, w[3,5], b[3], activation="Tanh", transB=1) }',
    "Scaler": "x[2,3] -> y { y = ai.onnx.ml::Scaler(x, offset=[0.1,0.2,-0.3], scale=[2.0,3.0,0.5]) }",
    "Normalizer": 'x[3,4] -> y { r = Relu(x); y = ai.onnx.ml::Normalizer(r, norm="L1") }',
    "Normalizer to length 1": 'x[3,4] -> y { y = ai.onnx.ml::Normalizer(x, norm="L2") }',
    "the labels of winners": (
        "x[4,3] -> y:i64 { i = ArgMax(x, axis=1); y = ai.onnx.ml::ArrayFeatureExtractor({7,8,9}, i) }"
    ),
    "LinearRegressor": "x[4,2] -> y { y = ai.onnx.ml::LinearRegressor(x, coefficients=[0.5,2.0], intercepts=[0.25]) }",
    "LinearClassifier": (
        "x[4,2] -> y:i64, p { y, p = ai.onnx.ml::LinearClassifier(x, classlabels_ints=[3,5,6],"
        ' coefficients=[0.5,2.0,-1.0,0.3,0.2,0.9], intercepts=[0.1,0.0,-0.1], post_transform="SOFTMAX") }'
    ),
}
STAY = {
    "an activation that is not known": (
        'x[1,3,6,6] -> y { y = com.microsoft::FusedConv(x, w[4,3,3,3], activation="Softplus") }'
    ),
    "rows by their largest": 'x[3,4] -> y { y = ai.onnx.ml::Normalizer(x, norm="MAX") }',
    "two classes of one score": (
        "x[4,2] -> y:i64, p { y, p = ai.onnx.ml::LinearClassifier(x, classlabels_ints=[0,1],"
        ' coefficients=[0.5,2.0], intercepts=[0.1], post_transform="LOGISTIC") }'
    ),
    "trees": "x[4,2] -> y { y = ai.onnx.ml::TreeEnsembleRegressor(x) }",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_written_out_it_computes_what_onnx_runtime_does(text: str) -> None:
    graph = parse(text)
    made = standard(graph)
    assert all(operator.domain == "" for operator in made.operators)
    feeds = random_feeds(graph, batch=1, seed=3)
    (wanted,), (found,) = (list(evaluate(each, each.outputs, [feeds])) for each in (graph, made))
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", STAY.values(), ids=STAY)
def test_what_onnx_has_no_words_for_stays(text: str) -> None:
    graph = parse(text)
    assert [operator.domain for operator in standard(graph).operators] == [
        operator.domain for operator in graph.operators
    ]
