"""Lowering for x86: whatever the operators, shapes and neighbours, the library computes what ONNX Runtime does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pruneir.backends.x86.cpu import AVX2
from pruneir.backends.x86.lower import lowered
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds
from support import needs
from support.bundles import bundled
from support.lowering import CASES

pytestmark = [
    pytest.mark.tvm,
    needs.avx2,
    needs.cc,
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

MORE = {
    "conv 1x1 padded": "x[1,4,5,6] -> y { y = Conv(x, w[7,4,1,1], b[7], pads=[1,1,1,1]) }",
    "conv pads far": "x[1,4,5,6] -> y { y = Conv(x, w[7,4,3,3], b[7], pads=[4,5,3,4]) }",
    "depthwise pads far": "x[1,9,5,6] -> y { y = Conv(x, w[9,1,3,3], b[9], group=9, pads=[4,5,3,4]) }",
    "depthwise dilated far": "x[1,9,5,6] -> y { y = Conv(x, w[9,1,3,3], b[9], group=9, pads=[4,4,4,4], dilations=[4,4]) }",
    "conv dilated beyond": "x[1,9,5,6] -> y { y = Conv(x, w[6,9,3,3], b[6], pads=[6,6,6,6], dilations=[6,6]) }",
    "group pads far": "x[1,8,3,3] -> y { y = Conv(x, w[8,2,3,3], b[8], group=4, pads=[3,3,3,3], strides=[2,2]) }",
    "avg same include": 'x[1,3,7,8] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER", count_include_pad=1) }',
    "avg same lower include": 'x[1,3,8,8] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_LOWER", count_include_pad=1) }',
    "avg same": 'x[1,3,7,8] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER") }',
    "max same lower": 'x[1,3,8,8] -> y { y = MaxPool(x, kernel_shape=[3,2], strides=[2,2], auto_pad="SAME_LOWER") }',
    "max valid": 'x[1,3,8,8] -> y { y = MaxPool(x, kernel_shape=[3,2], strides=[2,2], auto_pad="VALID") }',
    "avg ceil include": "x[1,3,10,9] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1) }",
    "avg ceil big stride": "x[1,3,10,10] -> y { y = AveragePool(x, kernel_shape=[2,2], strides=[3,3], ceil_mode=1) }",
    "max dilated padded": "x[1,3,10,9] -> y { y = MaxPool(x, kernel_shape=[3,3], dilations=[3,3], pads=[2,2,2,2]) }",
    "avg asym": "x[1,3,10,9] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], pads=[0,1,2,1], count_include_pad=1) }",
    "tconv pads": "x[1,5,4,6] -> y { y = ConvTranspose(x, w[5,4,5,5], strides=[2,2], pads=[2,1,2,3], output_padding=[1,0]) }",
    "tconv k<s": "x[1,5,4,6] -> y { y = ConvTranspose(x, w[5,4,1,1], strides=[2,3]) }",
    "tconv k<s out pad": "x[1,5,4,6] -> y { y = ConvTranspose(x, w[5,4,2,2], b[4], strides=[3,4], output_padding=[2,1]) }",
    "tconv pads>k": "x[1,5,6,6] -> y { y = ConvTranspose(x, w[5,4,3,3], b[4], strides=[1,1], pads=[3,3,2,2]) }",
    "tconv same": 'x[1,5,4,6] -> y { y = ConvTranspose(x, w[5,4,3,3], b[4], strides=[2,2], auto_pad="SAME_UPPER") }',
    "tconv dw": "x[1,6,4,6] -> y { y = ConvTranspose(x, w[6,1,4,4], b[6], strides=[2,2], group=6, pads=[1,1,1,1]) }",
    "tconv act res": "x[1,5,4,6], z[1,4,8,12] -> y { a = ConvTranspose(x, w[5,4,2,2], strides=[2,2]); b = Add(a, z); y = Relu(b) }",
    "tconv 3d": "x[1,2,3,4,5] -> y { y = ConvTranspose(x, w[2,3,2,2,2], strides=[2,2,2]) }",
    "sum of three": "x[1,3,4,4] -> y { a = Conv(x, w[3,3,1,1]); b = Relu(a); y = Sum(a, b, x) }",
    "max of three": "x[1,3,4,4] -> y { a = Conv(x, w[3,3,1,1]); b = Sigmoid(a); y = Max(a, b, x) }",
    "mean of two": "x[1,3,4,4] -> y { a = Conv(x, w[3,3,1,1]); y = Mean(a, x) }",
    "pow": "x[1,3,4,4] -> y { a = Relu(x); y = Pow(a, 2.0) }",
    "selu": "x[1,3,4] -> y { y = Selu(x) }",
    "celu": "x[1,3,4] -> y { y = Celu(x, alpha=0.5) }",
    "softsign": "x[1,3,4] -> y { y = Softsign(x) }",
    "thresholded": "x[1,3,4] -> y { y = ThresholdedRelu(x, alpha=0.3) }",
    "logsoftmax": "x[1,3,4] -> y { y = LogSoftmax(x) }",
    "hardmax": "x[1,3,4] -> y { y = Hardmax(x) }",
    "lrn": "x[1,7,4,5] -> y { y = LRN(x, size=5, alpha=0.1, beta=0.75) }",
    "instance norm": "x[2,3,4,5] -> y { y = InstanceNormalization(x, s[3], b[3]) }",
    "depth to space": "x[1,8,3,4] -> y { y = DepthToSpace(x, blocksize=2) }",
    "depth to space crd": 'x[1,8,3,4] -> y { y = DepthToSpace(x, blocksize=2, mode="CRD") }',
    "space to depth": "x[1,2,4,6] -> y { y = SpaceToDepth(x, blocksize=2) }",
    "expand": "x[1,2,1,6] -> y { y = Expand(x, {3,1,4,1}) }",
    "tile": "x[1,2,4] -> y { y = Tile(x, {1,2,3}) }",
    "where": "x[1,2,4] -> y { c = Greater(x, 0.1); y = Where(c, x, 0.5) }",
    "pad reflect": 'x[1,2,4,5] -> y { y = Pad(x, {0,0,1,2,0,0,1,1}, mode="reflect") }',
    "pad edge": 'x[1,2,4,5] -> y { y = Pad(x, {0,0,1,2,0,0,1,1}, mode="edge") }',
    "pad value": "x[1,2,4,5] -> y { a = Conv(x, w[3,2,1,1]); y = Pad(a, {0,0,1,2,0,1,1,1}, 0.5) }",
    "pad neg": "x[1,2,4,5] -> y { y = Pad(x, {0,0,-1,2,0,0,1,-1}) }",
    "gather": "x[1,5,4] -> y { y = Gather(x, {0,3}, axis=1) }",
    "gather scalar": "x[1,5,4] -> y { y = Gather(x, 2, axis=1) }",
    "einsum": 'x[1,5,4], z[1,4,3] -> y { y = Einsum(x, z, equation="bij,bjk->bik") }',
    "matmul 1d": "x[7] -> y { y = MatMul(x, w[7,3]) }",
    "matmul 1d 1d": "x[7] -> y { y = MatMul(x, w[7]) }",
    "matmul vec": "x[3,7] -> y { y = MatMul(x, w[7]) }",
    "matmul left const": "x[1,7,3] -> y { y = MatMul(w[5,7], x) }",
    "matmul batched const": "x[2,4,7] -> y { y = MatMul(x, w[2,7,3]) }",
    "matmul broadcast": "x[2,3,4,7], z[7,5] -> y { y = MatMul(x, z) }",
    "gemm transA": "x[7,3] -> y { y = Gemm(x, w[7,4], b[4], transA=1) }",
    "gemm bias column": "x[3,7] -> y { y = Gemm(x, w[7,4], b[3,1]) }",
    "gemm bias scalar": "x[3,7] -> y { y = Gemm(x, w[7,4], b[1]) }",
    "gemm bias full": "x[3,7] -> y { y = Gemm(x, w[7,4], b[3,4], beta=0.5) }",
    "gemm bias act": "x[3,7], b[4] -> y { y = Gemm(x, w[7,4], b) }",
    "gemm two acts": "x[3,7], z[5,7] -> y { y = Gemm(x, z, transB=1) }",
    "conv 3d": "x[1,2,5,6,7] -> y { a = Conv(x, w[3,2,3,3,3], b[3], pads=[1,1,1,1,1,1]); r = Relu(a); y = MaxPool(r, kernel_shape=[2,2,2], strides=[2,2,2]) }",
    "spread row": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Add(a, c[7]) }",
    "spread rows": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(a, c[6,1]) }",
    "spread image": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(a, c[6,7]) }",
    "spread ch row": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(a, c[8,6,1]) }",
    "spread ch col": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(a, c[1,8,1,7]) }",
    "spread whole": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(a, c[8,6,7]) }",
    "spread act": "x[2,5,6,7], z[2,1,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(a, z) }",
    "spread act2": "x[2,5,6,7], z[1,8,6,1] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(z, a) }",
    "spread act lower": "x[2,5,6,7], z[8,6,1] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(z, a) }",
    "spread act lower1": "x[2,5,6,7], z[6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Mul(z, a) }",
    "spread spatial attention": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); m = Conv(a, v[1,8,3,3], pads=[1,1,1,1]); s = Sigmoid(m); y = Mul(a, s) }",
    "spread seq": "x[2,3,4,5], m[2,1,1,5], n[1,3,4,1] -> y { a = Mul(x, m); b = Sub(a, n); y = Add(b, c[3,1,5]) }",
    "spread batch": "x[4,3,9] -> y { y = Add(x, c[4,1,9]) }",
    "mean of what has channels last": (
        "x[2,5,6,7] -> y, z { m = ReduceMean(x, axes=[1,2], keepdims=1); s = Sigmoid(m); y = Mul(x, s);"
        " z = ReduceMax(x, axes=[1,2], keepdims=0) }"
    ),
    "mean over steps": "x[2,9,7] -> y { m = ReduceMean(x, axes=[1], keepdims=0); y = Gemm(m, w[7,3]) }",
    "gate of what has channels last": (
        "x[1,3,6,5] -> y { a = Conv(x, w[9,3,3,3]); t = Transpose(a, perm=[0,2,3,1]);"
        " m = ReduceMean(t, axes=[1,2], keepdims=1); g = Sigmoid(m); e = Mul(t, g); y = Transpose(e, perm=[0,3,1,2]) }"
    ),
    "norm by hand": "x[2,7,9] -> y { m = ReduceMean(x, axes=[-1]); d = Sub(x, m); q = Pow(d, 2.0); v = ReduceMean(q, axes=[-1]); e = Add(v, 0.00001); s = Sqrt(e); n = Div(d, s); h = Mul(n, g[9]); y = Add(h, b[9]) }",
    "shuffle": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); r = Reshape(a, {1,2,4,6,7}); t = Transpose(r, perm=[0,2,1,3,4]); s = Reshape(t, {1,8,6,7}); y = Relu(s) }",
    "shuffle batch": "x[3,5,6,7] -> y { a = Conv(x, w[8,5,1,1]); r = Reshape(a, {3,2,4,6,7}); t = Transpose(r, perm=[0,2,1,3,4]); s = Reshape(t, {3,8,6,7}); y = Conv(s, v[3,8,1,1]) }",
    "windows": "x[2,6,8,5] -> y { r = Reshape(x, {2,3,2,4,2,5}); t = Transpose(r, perm=[0,1,3,2,4,5]); y = Reshape(t, {24,4,5}) }",
    "heads": "x[2,7,12] -> y { r = Reshape(x, {2,7,3,4}); y = Transpose(r, perm=[0,2,1,3]) }",
    "heads K": "x[2,7,12] -> y { r = Reshape(x, {2,7,3,4}); y = Transpose(r, perm=[0,2,3,1]) }",
    "reverse": "x[2,3,4,5] -> y { y = Transpose(x) }",
    "reverse matrix": "x[13,21] -> y { y = Transpose(x) }",
    "transpose of image": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Transpose(a, perm=[0,1,3,2]) }",
    "transpose of image2": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Transpose(a, perm=[3,1,0,2]) }",
    "d2s image": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = DepthToSpace(a, blocksize=2) }",
    "d2s image conv": 'x[2,5,6,7] -> y { a = Conv(x, w[12,5,1,1]); d = DepthToSpace(a, blocksize=2, mode="CRD"); y = Conv(d, v[2,3,1,1]) }',
    "s2d image": "x[2,5,6,8] -> y { a = Conv(x, w[3,5,1,1]); y = SpaceToDepth(a, blocksize=2) }",
    "focus": "x[1,3,6,8] -> y { a = Slice(x, {0,0}, {100,100}, {2,3}, {2,2}); b = Slice(x, {1,0}, {100,100}, {2,3}, {2,2}); c = Concat(a, b, axis=1); y = Conv(c, w[4,6,1,1]) }",
    "slice back": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Slice(a, {-1,100}, {-100,-3}, {1,3}, {-1,-1}) }",
    "slice back2": "x[3,4,5] -> y { y = Slice(x, {3}, {0}, {1}, {-2}) }",
    "slice nothing": "x[3,4,5] -> y { y = Slice(x, {0}, {4}, {1}) }",
    "slice empty": "x[3,4,5] -> y { y = Slice(x, {2}, {2}, {1}) }",
    "gather list": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Gather(a, {0,3,5,7}, axis=1) }",
    "gather list2": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Gather(a, {0,2,4,6}, axis=1) }",
    "gather row": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Gather(a, -1, axis=2) }",
    "gather 2d": "x[2,5,3] -> y { y = Gather(x, i[2,3]:i64, axis=1) }",
    "pad last": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Pad(a, {0,1,1,2,0,2,1,3}, 1.5) }",
    "pad batch": "x[2,5,6,7] -> y { a = Conv(x, w[8,5,1,1]); p = Pad(a, {1,0,1,2,0,0,1,3}); y = Conv(p, v[3,8,3,3]) }",
    "pad cut": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Pad(a, {0,0,-1,2,0,0,-2,-1}, -1.0) }",
    "pad 1d": "x[7] -> y { y = Pad(x, {1,2}) }",
    "expand image": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); e = ReduceMean(a, axes=[2], keepdims=1); y = Expand(e, {1,8,4,7}) }",
    "expand rank": "x[3,1] -> y { y = Expand(x, {2,1,4}) }",
    "tile image": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Tile(a, {2,2,1,3}) }",
    "concat last axis rank2": "x[2,3], z[2,4] -> y { y = Concat(x, z, axis=-1) }",
    "concat const": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Concat(a, k[1,2,6,7], axis=1) }",
    "concat empty": "x[2,3], z[2,0] -> y { y = Concat(x, z, axis=1) }",
    "split rows": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); b, c = Split(a, {2,4}, axis=2); d = Relu(c); y = Concat(d, b, axis=2) }",
    "split rank3": "x[2,3,6] -> y { b, c = Split(x, {2,4}, axis=2); d = Slice(c, {0}, {2}, {2}); y = Mul(b, d) }",
    "selu conv": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Selu(a) }",
    "log": "x[2,9] -> y { a = Exp(x); b = Add(a, 0.1); y = Log(b) }",
    "pow half": "x[2,9] -> y { a = Exp(x); b = Pow(a, 0.5); c = Pow(b, 3.0); d = Pow(c, -1.0); e = Pow(x, 2.0); y = Add(d, e) }",
    "softmax small": "x[3,5] -> y { y = Softmax(x) }",
    "softmax rank3": "x[2,3,17] -> y { a = Softmax(x, axis=-1); y = Mul(a, 3.0) }",
    "softmax 49": "x[2,3,49,49] -> y { a = Add(x, m[1,3,49,49]); y = Softmax(a, axis=3) }",
    "softmax channels": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Softmax(a, axis=1) }",
    "softmax rows": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Softmax(a, axis=2) }",
    "softmax cols": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Softmax(a, axis=3) }",
    "softmax rank1": "x[9] -> y { y = Softmax(x) }",
    "logsoftmax rows": "x[3,21] -> y { y = LogSoftmax(x) }",
    "logsoftmax channels": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = LogSoftmax(a, axis=1) }",
    "layernorm": "x[2,5,24] -> y { a = LayerNormalization(x, s[24], b[24]); y = Relu(a) }",
    "layernorm odd": "x[2,5,27] -> y { y = LayerNormalization(x, s[27], epsilon=0.1) }",
    "layernorm two axes": "x[2,5,6] -> y { y = LayerNormalization(x, s[5,6], b[5,6], axis=1) }",
    "layernorm small": "x[2,5,3] -> y { y = LayerNormalization(x, s[3], b[3]) }",
    "product": "x[2,3,13,7], z[2,3,7,21] -> y { a = MatMul(x, z); y = Mul(a, 0.3) }",
    "product mask": "x[2,3,13,7], z[2,3,7,21] -> y { a = MatMul(x, z); b = Add(a, m[1,1,13,21]); c = Add(b, n[3,1,1]); y = Softmax(c) }",
    "product broadcast": "x[2,1,13,7], z[3,7,33] -> y { y = MatMul(x, z) }",
    "product broadcast2": "x[4,7], z[3,7,5] -> y { y = MatMul(x, z) }",
    "product one row": "x[3,1,7], z[3,7,5] -> y { y = MatMul(x, z) }",
    "product one term": "x[3,5,1], z[3,1,5] -> y { y = MatMul(x, z) }",
    "product one column": "x[3,5,9], z[3,9,1] -> y { y = MatMul(x, z) }",
    "product itself": "x[1,5,5] -> y { y = MatMul(x, x) }",
    "product left": "x[2,7,5] -> y { y = MatMul(w[11,7], x) }",
    "product of images": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); t = Transpose(a, perm=[0,1,3,2]); b = MatMul(a, t); y = Relu(b) }",
    "gemm transB acts": "x[5,9], z[17,9] -> y { y = Gemm(x, z, transB=1) }",
    "einsum bhid": 'x[2,3,5,8], z[2,3,7,8] -> y { a = Einsum(x, z, equation="B H I D, B H J D -> B H I J"); y = Mul(a, 0.5) }',
    "einsum bhij": 'x[2,3,5,7], z[2,3,7,9] -> y { y = Einsum(x, z, equation="bhij,bhjd->bhid") }',
    "einsum other order": 'x[2,5,3,8], z[2,7,3,8] -> y { y = Einsum(x, z, equation="bihd,bjhd->bhij") }',
    "einsum sum two": 'x[2,5,3,8], z[2,7,3,8] -> y { y = Einsum(x, z, equation="bihd,bjhd->bij") }',
    "attention": "x[1,10,12] -> y { q = MatMul(x, wq[12,12]); k = MatMul(x, wk[12,12]); v = MatMul(x, wv[12,12]); q4 = Reshape(q, {1,10,3,4}); k4 = Reshape(k, {1,10,3,4}); v4 = Reshape(v, {1,10,3,4}); qt = Transpose(q4, perm=[0,2,1,3]); kt = Transpose(k4, perm=[0,2,3,1]); vt = Transpose(v4, perm=[0,2,1,3]); s = MatMul(qt, kt); d = Div(s, 2.0); p = Softmax(d); o = MatMul(p, vt); t = Transpose(o, perm=[0,2,1,3]); r = Reshape(t, {1,10,12}); m = MatMul(r, wo[12,12]); y = Add(m, x) }",
    "gather shuffled": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Gather(a, {0,4,1,5,2,6,3,7}, axis=1) }",
    "gather any order": "x[1,5,6,7] -> y { a = Conv(x, w[8,5,3,3], pads=[1,1,1,1]); y = Gather(a, {0,4,1,5,7,6,3,7}, axis=1) }",
    "constants of constants": "x[2,3,4] -> y, z { u = Unsqueeze(k[3,4], {0}); t = Transpose(k, perm=[1,0]); m = MatMul(k, t); y = Add(x, u); z = Identity(m) }",
}  # fmt: skip

COMMON = {
    **{f"activation {name}": text for name, text in ACTIVATIONS.items()},
    **{f"fused, {name}": text for name, text in FUSED.items()},
    **{f"images, {name}": text for name, text in IMAGES.items()},
}
RARE = {**CASES, **{f"more, {name}": text for name, text in MORE.items()}}
"""One library of each; the common ones are not optimized, which compiles faster."""


@cache
def computed(rare: bool) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    """What one library of many cases computes, and what ONNX Runtime does."""
    compiler = Compiler.of("x86-avx2")
    graph = bundled({case: compiler.prepared(parse(text)) for case, text in (RARE if rare else COMMON).items()})
    feeds = random_feeds(graph, batch=1, seed=1)
    with TemporaryDirectory(prefix="pruneir-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPT", "-O1" if rare else "-O0")  # of the Makefile: half the time
        outputs = compiler.compile(graph, Path(folder) / "x86", fold=False).artifact.run(feeds)
    wanted = next(evaluate(graph, graph.outputs, [feeds]))
    return outputs, {name: array.copy() for name, array in wanted.items()}


@pytest.mark.parametrize("case", [*COMMON, *(pytest.param(case, marks=pytest.mark.slow) for case in RARE)])
def test_the_library_computes_what_onnx_runtime_does(case: str) -> None:
    outputs, wanted = computed(case in RARE)
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
