"""Lowering for x86: whatever the operators, shapes and neighbours, the library computes what ONNX Runtime does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pruneir.backends.x86.cpu import AVX2, features
from pruneir.backends.x86.lower import lowered
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds
from support.bundles import bundled
from support.lowering import CASES

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.skipif(not {*AVX2.features} <= features(), reason="needs a processor with AVX2 and FMA"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]

TOLERANCE = 1e-4
"""Largest error, as a share of the largest output."""

_IMAGE = "x[2,5,6,7] -> y { a = Conv(x, w[9,5,3,3], b[9], pads=[1,1,1,1]); "

ACTIVATIONS = {
    name: f"{_IMAGE}y = {call} }}"
    for name, call in {
        "Relu": "Relu(a)",
        "LeakyRelu": "LeakyRelu(a, alpha=0.2)",
        "Elu": "Elu(a, alpha=0.7)",
        "HardSigmoid": "HardSigmoid(a, alpha=0.3, beta=0.4)",
        "HardSwish": "HardSwish(a)",
        "Sigmoid": "Sigmoid(a)",
        "Tanh": "Tanh(a)",
        "Erf": "Erf(a)",
        "Exp": "Exp(a)",
        "Softplus": "Softplus(a)",
        "Neg": "Neg(a)",
        "Abs": "Abs(a)",
        "Clip": "Clip(a, -0.3, 0.4)",
        "Clip from below": "Clip(a, -0.3)",
        "PRelu": "PRelu(a, s[9,1,1])",
    }.items()
}

FUSED = {
    "two uses that meet again": f"{_IMAGE}s = Sigmoid(a); y = Mul(a, s) }}",
    "hard swish, written out": (f"{_IMAGE}t = Add(a, 3.0); c = Clip(t, 0.0, 6.0); m = Mul(a, c); y = Div(m, 6.0) }}"),
    "a use outside": f"{_IMAGE}r = Relu(a); g = GlobalMaxPool(a); y = Add(r, g) }}",
    "two convolutions, added": f"{_IMAGE}b2 = Conv(x, v[9,5,1,1]); s = Add(a, b2); y = Relu(s) }}",
    "an operand computed later": (
        "x[1,4,6,6] -> y { a = Conv(x, w[8,4,3,3], pads=[1,1,1,1]); b = Conv(x, v[8,4,1,1]); c = Relu(b);"
        " d = Conv(c, u[8,8,3,3], pads=[1,1,1,1]); e = Add(a, d); y = Relu(e) }"
    ),
    "gated, of two samples": (
        f"{_IMAGE}g = GlobalAveragePool(a); h = Conv(g, v[9,9,1,1]); s = Sigmoid(h); y = Mul(a, s) }}"
    ),
    "scaled by a number that is computed": (f"{_IMAGE}m = ReduceMax(a, keepdims=1); y = Div(a, m) }}"),
    "a constant in front": f"{_IMAGE}y = Sub(1.0, a) }}",
    "a constant image": f"{_IMAGE}y = Add(a, c[1,9,6,7]) }}",
    "an output in the middle": ("x[1,4,6,6] -> r, y { a = Conv(x, w[8,4,3,3]); r = Relu(a); y = Sigmoid(r) }"),
    "elementwise alone": "x[3,4,5] -> y { a = Relu(x); y = Mul(a, 0.5) }",
    "elementwise along channels": "x[2,7,3,3] -> y { y = Mul(x, s[7,1,1]) }",
    "elementwise of rows": "x[5,11] -> y { a = Add(x, s[11]); y = Tanh(a) }",
    "matrix and bias apart": "x[3,4,10] -> y { a = MatMul(x, w[10,6]); b = Add(a, v[6]); y = Softplus(b) }",
    "a scalar": "x[] -> y { y = Exp(x) }",
    "nothing to compute": "x[0,4] -> y { y = Relu(x) }",
}

IMAGES = {
    "channels in two orders": ("x[1,4,5,6] -> y { a = Conv(x, w[6,4,1,1]); f = Flatten(a); y = Gemm(f, v[180,3]) }"),
    "concatenated along rows": (
        "x[1,3,5,7] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(x, w2[4,3,1,1]); c = Concat(a, b, axis=2);"
        " y = Conv(c, w3[5,4,3,3]) }"
    ),
    "concatenated with itself": "x[1,3,5,7] -> y { a = Conv(x, w1[4,3,1,1]); c = Concat(a, a, axis=1); y = Relu(c) }",
    "sliced channels": (
        "x[1,3,5,7] -> y { a = Conv(x, w[9,3,1,1]); s = Slice(a, {2}, {7}, {1}); y = Conv(s, v[4,5,1,1]) }"
    ),
    "sliced from the end": "x[1,6,5,7] -> y { a = Conv(x, w[9,6,1,1]); y = Slice(a, {-4}, {100}, {2}) }",
    "sliced twice": "x[1,6,8,7] -> y { y = Slice(x, {1,2}, {5,6}, {1,3}) }",
    "1-D": "x[2,3,31] -> y { a = Conv(x, w[8,3,5], b[8], pads=[2,2]); p = MaxPool(a, kernel_shape=[2], strides=[2]); y = Relu(p) }",
    "average of 1-D": "x[2,3,31] -> y { y = AveragePool(x, kernel_shape=[3], strides=[2], pads=[1,1]) }",
    "pool that rounds up": "x[1,3,10,9] -> y { y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], ceil_mode=1) }",
    "average that rounds up": (
        "x[1,3,10,9] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1) }"
    ),
    "dilated pool": "x[1,3,10,9] -> y { y = MaxPool(x, kernel_shape=[2,3], dilations=[2,2]) }",
    "nearest, by half": (
        'x[1,3,7,9] -> y { a = Conv(x, w[4,3,1,1]); y = Resize(a, _, {1.0,1.0,2.0,3.0}, mode="nearest") }'
    ),
    "linear": (
        "x[1,3,7,9] -> y { a = Conv(x, w[4,3,1,1]); y = Resize(a, _, _, {1,4,13,20},"
        ' mode="linear", coordinate_transformation_mode="align_corners") }'
    ),
    "linear, half pixels": 'x[1,3,7,9] -> y { y = Resize(x, _, {1.0,1.0,2.0,2.0}, mode="linear") }',
    "cubic": 'x[1,3,7,9] -> y { y = Resize(x, _, {1.0,1.0,2.0,2.0}, mode="cubic") }',
    "large enough for Winograd": (
        "x[1,32,18,21] -> y { a = Conv(x, w[37,32,3,3], b[37], pads=[1,1,1,1]); r = Relu(a);"
        " y = Conv(r, v[33,37,3,3], pads=[1,1,1,1]) }"
    ),
    "transposed, 2×2": "x[2,5,4,6] -> y { y = ConvTranspose(x, w[5,7,2,2], b[7], strides=[2,2]) }",
    "transposed, 4×4": (
        "x[1,5,4,6] -> y { a = ConvTranspose(x, w[5,9,4,4], b[9], strides=[2,2], pads=[1,1,1,1]); y = Relu(a) }"
    ),
    "transposed, 3×3, one more row": (
        "x[1,5,4,6] -> y { y = ConvTranspose(x, w[5,4,3,3], strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]) }"
    ),
    "transposed, of stride 1": "x[1,5,4,6] -> y { y = ConvTranspose(x, w[5,4,3,3], pads=[1,1,1,1]) }",
    "transposed, far apart": "x[1,5,4,6] -> y { y = ConvTranspose(x, w[5,4,2,2], strides=[3,3]) }",
    "transposed, grouped": "x[1,6,4,6] -> y { y = ConvTranspose(x, w[6,2,2,2], strides=[2,2], group=3) }",
    "transposed, dilated": "x[1,3,4,6] -> y { y = ConvTranspose(x, w[3,4,3,3], dilations=[2,2]) }",
    "transposed, 1-D": "x[1,3,9] -> y { y = ConvTranspose(x, w[3,4,4], strides=[2], pads=[1,1]) }",
    "grouped, strided": (
        "x[2,12,9,8] -> y { a = Conv(x, w[20,3,3,3], b[20], group=4, strides=[2,2], pads=[1,1,1,1]); y = Relu(a) }"
    ),
    "grouped, odd": "x[1,9,9,8] -> y { y = Conv(x, w[15,3,1,1], b[15], group=3) }",
    "transposed by itself": "x[1,3,5,7] -> y { a = Conv(x, w[4,3,1,1]); y = Transpose(a, perm=[0,2,3,1]) }",
    "channels last at both ends": (
        "x[2,6,7,5] -> y { t = Transpose(x, perm=[0,3,1,2]); a = Conv(t, w[9,5,3,3], pads=[1,1,1,1]); r = Relu(a);"
        " y = Transpose(r, perm=[0,2,3,1]) }"
    ),
    "a head of a detector": (
        "x[2,5,6,7] -> y { a = Conv(x, w[12,5,3,3]); t = Transpose(a, perm=[0,2,3,1]); y = Reshape(t, {2,-1,4}) }"
    ),
    "turned and used as it was": (
        "x[1,5,6,7] -> y, z { a = Conv(x, w[12,5,1,1]); y = Transpose(a, perm=[0,2,3,1]); z = Relu(a) }"
    ),
    "turned 1-D": "x[1,9,4] -> y { t = Transpose(x, perm=[0,2,1]); a = Conv(t, w[6,4,3]); y = Transpose(a, perm=[0,2,1]) }",
    "turned twice": (
        "x[1,3,4,5] -> y { a = Transpose(x, perm=[0,2,3,1]); b = Transpose(a, perm=[0,2,3,1]); y = Relu(b) }"
    ),
    "shuffled": (
        "x[1,8,5,7] -> y { a = Conv(x, w[12,8,1,1]); r = Reshape(a, {1,3,4,5,7}); t = Transpose(r, perm=[0,2,1,3,4]);"
        " s = Reshape(t, {1,12,5,7}); y = Conv(s, v[4,12,1,1]) }"
    ),
    "softmax of channels": "x[1,3,5,7] -> y { a = Conv(x, w[4,3,1,1]); y = Softmax(a, axis=1) }",
    "a constant that is convolved": "x[1,4,5,5] -> y { c = Conv(k[1,3,5,5], w[4,3,1,1]); y = Add(x, c) }",
}

ALL = {
    **CASES,
    **{f"activation {name}": text for name, text in ACTIVATIONS.items()},
    **{f"fused, {name}": text for name, text in FUSED.items()},
    **{f"images, {name}": text for name, text in IMAGES.items()},
}


@cache
def computed() -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    """What one library of all cases computes, and what ONNX Runtime does."""
    compiler = Compiler.of("x86-avx2")
    graph = bundled({case: compiler.prepared(parse(text)) for case, text in ALL.items()})
    feeds = random_feeds(graph, batch=1, seed=1)
    with TemporaryDirectory(prefix="pruneir-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPT", "-O1")  # of the Makefile: half the time
        outputs = compiler.compile(graph, Path(folder) / "x86", fold=False).artifact.run(feeds)
    wanted = next(evaluate(graph, graph.outputs, [feeds]))
    return outputs, {name: array.copy() for name, array in wanted.items()}


@pytest.mark.parametrize("case", ALL)
def test_the_library_computes_what_onnx_runtime_does(case: str) -> None:
    outputs, wanted = computed()
    names = [name for name in wanted if name.startswith(f"{case}/")]
    assert names
    for name in names:
        assert (outputs[name].dtype, outputs[name].shape) == (wanted[name].dtype, wanted[name].shape)
        if wanted[name].size:
            assert np.abs(wanted[name]).max() > 0
            assert np.abs(outputs[name] - wanted[name]).max() <= TOLERANCE * np.abs(wanted[name]).max()


STEPS = {
    "two uses that meet again": ["Conv"],
    "hard swish, written out": ["Conv"],
    "two convolutions, added": ["Conv", "Conv"],
}


def steps(graph: Graph) -> list[str]:
    """The calls that compute, by the operator that each is named after."""
    kinds = {operator.label: operator.type for operator in graph.operators}
    return [kinds[call.layer] for call in lowered(graph, AVX2).calls if call.schedule != "transpose"]


@pytest.mark.parametrize("case", STEPS)
def test_elementwise_operators_are_computed_where_values_are_made(case: str) -> None:
    assert steps(parse(FUSED[case])) == STEPS[case]
