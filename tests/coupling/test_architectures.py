"""Attention, recurrence, quantisation and norms: the patterns of whole architectures, cut and compared."""

from __future__ import annotations

import pytest

from pruneir.coupling import couple
from pruneir.graph import parse
from support.properties import assert_pruned_equals_masked

# name: (graph, channels of each group in file order)
CASES = {
    "attention": (
        "x[N,5,12] -> y { q = MatMul(x, wq[12,8]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6])"
        "; qb = Add(q, bq[8]); kb = Add(k, bk[8])"
        "; qh = Reshape(qb, {0,5,2,4}); kh = Reshape(kb, {0,5,2,4}); vh = Reshape(v, {0,5,2,3})"
        "; qt = Transpose(qh, perm=[0,2,1,3]); kt = Transpose(kh, perm=[0,2,3,1]); vt = Transpose(vh, perm=[0,2,1,3])"
        "; s = MatMul(qt, kt); d = Div(s, 2.0); p = Softmax(d, axis=-1); o = MatMul(p, vt)"
        "; ot = Transpose(o, perm=[0,2,1,3]); oc = Reshape(ot, {0,5,6}); y = MatMul(oc, wo[6,12]) }",
        [2, 4, 3],
    ),
    "attention, one operator": (
        "opset 23\nx[N,5,12] -> y { q = MatMul(x, wq[12,8]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6])"
        "; a = Attention(q, k, v, q_num_heads=2, kv_num_heads=2); y = MatMul(a, wo[6,12]) }",
        [2, 4, 3],
    ),
    "attention, one operator on heads": (
        "opset 23\nx[N,5,12] -> y { q = MatMul(x, wq[12,8]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6])"
        "; qh = Reshape(q, {0,5,2,4}); kh = Reshape(k, {0,5,2,4}); vh = Reshape(v, {0,5,2,3}); qt = Transpose(qh, perm=[0,2,1,3])"
        "; kt = Transpose(kh, perm=[0,2,1,3]); vt = Transpose(vh, perm=[0,2,1,3]); a = Attention(qt, kt, vt, m[2,5,5])"
        "; t = Transpose(a, perm=[0,2,1,3]); r = Reshape(t, {0,5,6}); y = MatMul(r, wo[6,12]) }",
        [2, 4, 3],
    ),
    "attention, keys shared by queries": (
        "opset 23\nx[N,5,12] -> y { q = MatMul(x, wq[12,16]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6])"
        "; a = Attention(q, k, v, q_num_heads=4, kv_num_heads=2); y = MatMul(a, wo[12,12]) }",
        None,
    ),
    "attention, a mask for each head": (
        "opset 23\nx[N,5,12] -> y { q = MatMul(x, wq[12,8]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6])"
        "; a = Attention(q, k, v, m[2,5,5], q_num_heads=2, kv_num_heads=2); y = MatMul(a, wo[6,12]) }",
        [2, 4, 3],
    ),
    "attention, a computed mask for each head": (
        "opset 23\nx[N,5,12] -> y { q = MatMul(x, wq[12,16]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6]); p = MatMul(x, wp[12,20])"
        "; r = Reshape(p, {0,5,5,4}); m = Transpose(r, perm=[0,3,1,2]); a = Attention(q, k, v, m, q_num_heads=4, kv_num_heads=2)"
        "; y = MatMul(a, wo[12,12]) }",
        None,
    ),
    "attention, a mask that is fed for each head": (
        "opset 23\nx[N,5,12], m[1,2,5,5] -> y { q = MatMul(x, wq[12,8]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6])"
        "; a = Attention(q, k, v, m, q_num_heads=2, kv_num_heads=2); y = MatMul(a, wo[6,12]) }",
        [4, 3],
    ),
    "attention, one mask": (
        "opset 23\nx[N,5,12] -> y { q = MatMul(x, wq[12,8]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6])"
        "; a = Attention(q, k, v, m[1,1,5,5], q_num_heads=2, kv_num_heads=2); y = MatMul(a, wo[6,12]) }",
        [2, 4, 3],
    ),
    "attention with a cache": (
        "opset 23\nx[1,5,12], pk[1,2,3,4], pv[1,2,3,3] -> y, c, d { q = MatMul(x, wq[12,8]); k = MatMul(x, wk[12,8]); v = MatMul(x, wv[12,6])"
        "; a, c, d = Attention(q, k, v, _, pk, pv, q_num_heads=2, kv_num_heads=2); f = MatMul(a, wf[6,7]); y = MatMul(f, wo[7,12]) }",
        [7],
    ),
    "fused attention": (
        "x[N,5,12] -> y { f = MatMul(x, w[12,24]); b = Add(f, bias[24]); r = Reshape(b, {0,5,3,2,4})"
        "; t = Transpose(r, perm=[2,0,3,1,4]); q = Gather(t, 0, axis=0); k = Gather(t, 1, axis=0); v = Gather(t, 2, axis=0)"
        "; kt = Transpose(k, perm=[0,1,3,2]); s = MatMul(q, kt); p = Softmax(s, axis=-1); o = MatMul(p, v)"
        "; ot = Transpose(o, perm=[0,2,1,3]); oc = Reshape(ot, {0,5,8}); y = MatMul(oc, wo[8,12]) }",
        [2, 4],
    ),
    "residual stream behind a norm": (
        "x[N,5,6] -> y { e = MatMul(x, we[6,8]); n = LayerNormalization(e, s[8], b[8]); m = MatMul(n, w1[8,16]); r = Relu(m)"
        "; h = MatMul(r, w2[16,8]); a = Add(e, h); y = MatMul(a, wy[8,3]) }",
        [16],
    ),
    "instance norm": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,3,3]); n = InstanceNormalization(a, s[8], b[8]); y = Conv(n, w2[4,8,1,1]) }",
        [8],
    ),
    "group norm": (
        "opset 21\nx[N,3,6,6] -> y { a = Conv(x, w1[8,3,3,3]); n = GroupNormalization(a, s[8], b[8], num_groups=4)"
        "; y = Conv(n, w2[4,8,1,1]) }",
        [4],
    ),
    "group norm by reshape": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); r = Reshape(a, {0,4,-1}); n = InstanceNormalization(r, s[4], b[4])"
        "; u = Reshape(n, {0,8,6,6}); m = Mul(u, g[8,1,1]); y = Conv(m, w2[4,8,1,1]) }",
        [4],
    ),
    "l2 norm across channels": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); n = LpNormalization(a, axis=1); m = Mul(n, g[8,1,1]); y = Conv(m, w2[4,8,1,1]) }",
        [8],
    ),
    "l2 norm, decomposed": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); q = ReduceL2(a, axes=[1]); e = Add(q, 0.01); n = Div(a, e)"
        "; y = Conv(n, w2[4,8,1,1]) }",
        [8],
    ),
    "lstm": (
        "x[5,N,3] -> y { h = MatMul(x, w0[3,6]); a, ah, ac = LSTM(h, w[2,28,6], r[2,28,7], b[2,56], hidden_size=7"
        ', direction="bidirectional"); t = Transpose(a, perm=[0,2,1,3]); f = Reshape(t, {5,-1,14}); y = MatMul(f, w2[14,4]) }',
        [6, 7],
    ),
    "gru": (
        "x[5,N,3] -> y { a, _ = GRU(x, w[1,18,3], r[1,18,6], b[1,36], hidden_size=6, linear_before_reset=1)"
        "; s = Squeeze(a, {1}); y = MatMul(s, w2[6,4]) }",
        [6],
    ),
    "stacked rnn": (
        "x[5,N,3] -> y { a, _ = RNN(x, w[1,6,3], r[1,6,6], hidden_size=6); s = Squeeze(a, {1})"
        "; _, h = RNN(s, v[1,4,6], q[1,4,4], c[1,8], hidden_size=4); t = Squeeze(h, {0}); y = MatMul(t, w2[4,4]) }",
        [6, 4],
    ),
    "einsum": (
        'x[N,5,12] -> y { q = Einsum(x, wq[12,2,4], equation="bsd,dhe->bshe"); k = Einsum(x, wk[12,2,4], equation="bsd,dhe->bshe")'
        '; s = Einsum(q, k, equation="bqhe,bkhe->bhqk"); p = Softmax(s, axis=-1); v = Einsum(x, wv[12,2,3], equation="bsd,dhe->bshe")'
        '; o = Einsum(p, v, equation="bhqk,bkhe->bqhe"); y = Einsum(o, wo[2,3,12], equation="...he,hed->...d") }',
        [2, 4, 3],
    ),
    "expand": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); p = ReduceMean(a, axes=[2,3]); e = Expand(p, {1,8,6,6}); m = Add(a, e)"
        "; y = Conv(m, w2[4,8,1,1]) }",
        [8],
    ),
    "expand to the batch": (
        "opset 17\nx[N,5,6] -> y { s = Shape(x, start=0, end=1); t = Concat(s, {1,1}, axis=0); e = Expand(cls[1,1,8], t)"
        "; m = MatMul(x, w1[6,8]); c = Concat(e, m, axis=1); y = MatMul(c, w2[8,3]) }",
        [8],
    ),
    "tile": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); t = Tile(a, {1,2,1,1}); y = Conv(t, w2[4,16,1,1]) }",
        [8],
    ),
    "space to depth": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); t = SpaceToDepth(a, blocksize=2); y = Conv(t, w2[4,32,1,1]) }",
        [8],
    ),
    "depth to space": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[12,3,1,1]); t = DepthToSpace(a, blocksize=2); y = Conv(t, w2[4,3,1,1]) }",
        [3],
    ),
    "quantised activations": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); q = QuantizeLinear(a, 0.05, 7:u8); d = DequantizeLinear(q, 0.05, 7:u8)"
        "; y = Conv(d, w2[4,8,1,1]) }",
        [8],
    ),
    "quantised activations, a scale per channel": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); q = QuantizeLinear(a, s[8], z[8]:i8, axis=1)"
        "; d = DequantizeLinear(q, t[8], z, axis=1); y = Conv(d, w2[4,8,1,1]) }",
        [8],
    ),
    "quantised weights": (
        "x[N,3,6,6] -> y { w = DequantizeLinear(wq[8,3,1,1]:i8, ws[8], axis=0); a = Conv(x, w, b[8]); r = Sigmoid(a)"
        "; v = DequantizeLinear(vq[4,8,1,1]:i8, 0.05, 3:i8); y = Conv(r, v) }",
        [8],
    ),
    "quantised weights of a transposed convolution": (
        "x[N,3,6,6] -> y { a = Conv(x, w0[8,3,1,1]); w = DequantizeLinear(wq[8,5,2,2]:i8, ws[5], wz[5]:i8)"
        "; t = ConvTranspose(a, w, b[5], strides=[2,2]); y = Conv(t, v[4,5,1,1]) }",
        [8, 5],
    ),
    "weights quantised in blocks": (
        "opset 21\nx[N,5] -> y { h = MatMul(x, w0[5,8]); w = DequantizeLinear(q[6,8]:i8, s[6,2], z[6,2]:i8, axis=1, block_size=4)"
        "; t = Transpose(w, perm=[1,0]); a = MatMul(h, t); v = DequantizeLinear(p[6,4]:i8, r[2,4], axis=0, block_size=3); y = MatMul(a, v) }",
        [],
    ),
    "weights quantised in blocks of inputs": (
        "opset 21\nx[N,8] -> y { w = DequantizeLinear(q[6,8]:i8, s[6,2], z[6,2]:i8, axis=1, block_size=4); t = Transpose(w, perm=[1,0])"
        "; a = MatMul(x, t); y = MatMul(a, v[6,4]) }",
        [6],
    ),
    "a vector quantised in blocks": (
        "opset 21\nx[N,8] -> y { a = MatMul(x, w[8,6]); b = DequantizeLinear(q[6]:i8, s[2], axis=0, block_size=3); c = Add(a, b)"
        "; y = MatMul(c, v[6,4]) }",
        [],
    ),
    "quantised convolutions": (
        "x[N,3,6,6] -> y { q = QuantizeLinear(x, 0.05, 3:i8); a = QLinearConv(q, 0.05, 3:i8, w[8,3,1,1]:i8, ws[8], wz{0,0,0,0,0,0,0,0}:i8"
        ", 2.0, 5:i8, b[8]:i32); c = QLinearConv(a, 2.0, 5:i8, v[6,8,1,1]:i8, 0.05, 2:i8, 0.2, 1:i8)"
        "; d = DequantizeLinear(c, 0.2, 1:i8); y = Conv(d, u[4,6,1,1]) }",
        [8, 6],
    ),
    "quantised products": (
        "x[N,6] -> y { h = MatMul(x, w0[6,8]); q = QuantizeLinear(h, 0.05, 3:i8); a = QLinearMatMul(q, 0.05, 3:i8, w[8,7]:i8, 0.05, 1:i8"
        ", 0.02, 5:i8); d = DequantizeLinear(a, 0.02, 5:i8); y = MatMul(d, w2[7,4]) }",
        [8, 7],
    ),
    "integer products": (
        "x[N,3,6,6] -> y { h = Conv(x, w0[6,3,1,1]); q = QuantizeLinear(h, 0.05, 3:u8); a = ConvInteger(q, w[8,6,1,1]:u8, 3:u8, 1:u8)"
        "; f = Cast(a, to=1); y = Conv(f, w2[4,8,1,1]) }",
        [6, 8],
    ),
    "gathered by a computed index": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[8,3,1,1]); p = ReduceMean(a, axes=[2,3], keepdims=0); i = Add({0,1,2,3,4,5,6,7}, {0})"
        "; g = Gather(p, i, axis=1); y = MatMul(g, w2[8,4]) }",
        [8],
    ),
    "channel shuffle": (
        "x[N,3,6,6] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(x, w2[4,3,1,1]); c = Concat(a, b, axis=1)"
        "; r = Reshape(c, {0,2,4,6,6}); t = Transpose(r, perm=[0,2,1,3,4]); s = Reshape(t, {0,8,6,6})"
        "; d, e = Split(s, {4,4}, axis=1); f = Conv(d, w3[4,4,1,1]); y = Add(e, f) }",
        None,
    ),
    "a skip from the encoder": (
        "x[N,3,8,8] -> y { a = Conv(x, w1[6,3,3,3], pads=[1,1,1,1]); p = MaxPool(a, kernel_shape=[2,2], strides=[2,2])"
        "; b = Conv(p, w2[8,6,3,3], pads=[1,1,1,1]); u = ConvTranspose(b, w3[8,5,2,2], bu[5], strides=[2,2])"
        "; c = Concat(a, u, axis=1); y = Conv(c, w4[4,11,1,1]) }",
        [6, 8, 5],
    ),
}


@pytest.mark.parametrize(("text", "channels"), CASES.values(), ids=CASES)
def test_pruned_equals_masked(text: str, channels: list[int] | None) -> None:
    coupling = assert_pruned_equals_masked(parse(text))
    if channels is not None:
        assert [len(group) for group in coupling.groups] == channels


NORMS = {
    "layer norm": ("n = LayerNormalization(e, s[8], b[8])", [8]),
    "rms norm": ("q = Mul(e, e); m = ReduceMean(q, axes=[2]); r = Add(m, 0.001); t = Sqrt(r); n = Div(e, t)", [8]),
    "layer norm, decomposed": (
        "m = ReduceMean(e, axes=[2]); d = Sub(e, m); q = Pow(d, 2.0); v = ReduceMean(q, axes=[2]); r = Add(v, 0.001)"
        "; t = Sqrt(r); n0 = Div(d, t); n1 = Mul(n0, s[8]); n = Add(n1, b[8])",
        [8],
    ),
}


@pytest.mark.parametrize(("norm", "channels"), NORMS.values(), ids=NORMS)
def test_norms_lock_by_default_and_open_on_request(norm: str, channels: list[int]) -> None:
    graph = parse(f"x[N,5,6] -> y {{ e = MatMul(x, we[6,8]); {norm}; y = MatMul(n, wy[8,3]) }}")
    closed = couple(graph)
    assert not closed.groups
    assert {r.code for r in closed.generators.reasons} >= {"PIR010"}
    assert [len(group) for group in couple(graph, cut_norms=True).groups] == channels
    assert_pruned_equals_masked(graph, cut_norms=True)
