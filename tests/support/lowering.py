"""Small networks that every backend computes as ONNX Runtime does."""

from __future__ import annotations

CONVOLUTIONS = {
    "one channel": "x[1,1,7,9] -> y { y = Conv(x, w[1,1,3,3]) }",
    "primes": "x[1,5,13,7] -> y { y = Conv(x, w[7,5,3,3], b[7], pads=[1,1,1,1]) }",
    "a channel beyond two tiles": "x[1,3,9,9] -> y { y = Conv(x, w[13,3,3,3], b[13]) }",
    "more columns than a tile": "x[1,2,5,29] -> y { y = Conv(x, w[3,2,3,3], pads=[1,1,1,1]) }",
    "one column": "x[1,4,9,3] -> y { y = Conv(x, w[6,4,3,3]) }",
    "even kernel": "x[1,3,8,9] -> y { y = Conv(x, w[4,3,2,4], b[4]) }",
    "strided": "x[1,3,13,9] -> y { y = Conv(x, w[5,3,3,3], strides=[2,2], pads=[1,1,1,1]) }",
    "strided unevenly": "x[1,3,12,11] -> y { y = Conv(x, w[5,3,3,3], strides=[3,2]) }",
    "stride beyond the kernel": "x[1,3,12,11] -> y { y = Conv(x, w[5,3,2,2], strides=[3,4]) }",
    "dilated": "x[1,3,13,13] -> y { y = Conv(x, w[4,3,3,3], dilations=[2,3], pads=[2,3,2,3]) }",
    "padded unevenly": "x[1,3,7,9] -> y { y = Conv(x, w[6,3,3,3], pads=[0,2,1,0]) }",
    "padded as TensorFlow does": 'x[1,3,7,10] -> y { y = Conv(x, w[6,3,3,3], auto_pad="SAME_UPPER", strides=[2,2]) }',
    "grouped": "x[1,6,7,9] -> y { y = Conv(x, w[9,2,3,3], b[9], group=3, pads=[1,1,1,1]) }",
    "depthwise": "x[1,5,9,13] -> y { a = Conv(x, w[5,1,3,3], b[5], group=5, pads=[1,1,1,1]); y = Relu(a) }",
    "depthwise 5×5, strided": "x[1,7,13,9] -> y { y = Conv(x, w[7,1,5,5], group=7, strides=[2,2], pads=[2,2,2,2]) }",
    "depthwise, two filters a channel": "x[1,4,7,7] -> y { y = Conv(x, w[8,1,3,3], group=4, pads=[1,1,1,1]) }",
    "1×1": "x[1,11,5,7] -> y { y = Conv(x, w[13,11,1,1], b[13]) }",
    "1×1, strided": "x[1,8,7,7] -> y { y = Conv(x, w[6,8,1,1], strides=[2,2]) }",
    "1×1 of one pixel": "x[1,12,1,1] -> y { y = Conv(x, w[7,12,1,1], b[7]) }",
    "1-D": "x[1,3,29] -> y { y = Conv(x, w[5,3,3], b[5], pads=[1,1]) }",
    "1-D, wide and strided": "x[1,1,256] -> y { y = Conv(x, w[6,1,64], b[6], strides=[16], pads=[24,24]) }",
    "transposed": "x[1,3,5,4] -> y { y = ConvTranspose(x, w[3,4,3,3], b[4], strides=[2,2], pads=[1,1,1,1]) }",
    "transposed 1-D, four by four": "x[1,3,7] -> y { a = ConvTranspose(x, w[3,5,8], b[5], strides=[4], pads=[2,2]); y = Relu(a) }",
    "transposed, 3×3, one more row": (
        "x[1,5,4,6] -> y { y = ConvTranspose(x, w[5,4,3,3], strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]) }"
    ),
    "transposed, grouped, dilated": (
        "x[1,4,5,4] -> y { y = ConvTranspose(x, w[4,3,3,2], b[6], strides=[3,1], dilations=[1,2], group=2, pads=[0,1,1,0]) }"
    ),
    "two batches": "x[2,3,7,7] -> y { y = Conv(x, w[5,3,3,3], b[5], pads=[1,1,1,1]) }",
}

LINEAR = {
    "Gemm": "x[1,37] -> y { y = Gemm(x, w[37,11], b[11]) }",
    "Gemm, transposed": "x[1,24] -> y { y = Gemm(x, w[5,24], b[5], transB=1) }",
    "Gemm, scaled": "x[1,24] -> y { y = Gemm(x, w[5,24], b[5], transB=1, alpha=0.5, beta=2.0) }",
    "Gemm of rows": "x[7,13] -> y { a = Gemm(x, w[13,9], b[9]); y = Relu(a) }",
    "MatMul": "x[1,5,19] -> y { y = MatMul(x, w[19,6]) }",
    "MatMul of activations": "x[1,2,5,7], z[1,2,7,3] -> y { y = MatMul(x, z) }",
    "one output": "x[1,50] -> y { y = Gemm(x, w[50,1], b[1]) }",
}

NETWORKS = {
    "BatchNorm behind Relu": (
        "x[1,3,9,9] -> y { a = Conv(x, w[6,3,3,3]); r = Relu(a); n = BatchNormalization(r, s[6], t[6], m[6], v[6]);"
        " y = Conv(n, u[5,6,3,3], pads=[1,1,1,1]) }"
    ),
    "gate": (
        "x[1,6,7,7] -> y { a = Conv(x, w[8,6,3,3], pads=[1,1,1,1]); g = GlobalAveragePool(a);"
        " d = Conv(g, w1[2,8,1,1], b1[2]); r = Relu(d); u = Conv(r, w2[8,2,1,1], b2[8]); h = HardSigmoid(u);"
        " m = Mul(a, h); y = Conv(m, w3[5,8,1,1]) }"
    ),
    "residual": (
        "x[1,3,7,7] -> y { a = Conv(x, w1[8,3,3,3], pads=[1,1,1,1]); r = Relu(a);"
        " b = Conv(r, w2[8,8,3,3], c[8], pads=[1,1,1,1]); s = Add(b, r); y = Relu(s) }"
    ),
    "in the place of the input": (
        "x[1,3,9,11] -> y { a = Conv(x, w1[6,3,3,3], pads=[1,1,1,1]); r = Relu(a);"
        " b = Conv(r, w2[6,6,3,3], pads=[1,1,1,1]); d = Conv(b, w3[6,1,5,5], group=6, pads=[2,2,2,2]);"
        " e = Conv(d, w4[6,6,5,3], pads=[4,1,0,1]); f = Conv(e, w5[6,6,3,3], pads=[2,2,2,2], dilations=[2,2]);"
        " y = Relu(f) }"
    ),
    "gate without a convolution": "x[1,6,7,8] -> y { a = GlobalAveragePool(x); h = HardSigmoid(a); y = Mul(x, h) }",
    "summed over the first axis": "x[9,12] -> y { y = ReduceSum(x, {0}, keepdims=0) }",
    "absolute values": "x[1,3,4] -> y { y = Abs(x) }",
    "rounded to integers": "x[1,9] -> y { i = Cast(x, to=7); f = Cast(i, to=1); y = Add(x, f) }",
    "hard swish": "x[1,3,7,7] -> y { a = Conv(x, w[5,3,3,3], b[5]); y = HardSwish(a) }",
    "clipped": "x[1,3,7,7] -> y { a = Conv(x, w[5,3,3,3], b[5]); y = Clip(a, 0.0, 0.6) }",
    "slopes": "x[1,3,7,7] -> y { a = Conv(x, w[5,3,3,3], b[5]); y = PRelu(a, s[5,1,1]) }",
    "concatenated": (
        "x[1,3,7,7] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(x, w2[5,3,3,3], pads=[1,1,1,1]);"
        " c = Concat(a, x, b, axis=1); y = Conv(c, w3[6,12,1,1]) }"
    ),
    "split": (
        "x[1,8,5,7] -> y { a, b, c = Split(x, {2,5,1}, axis=1); d = Conv(b, w[2,5,3,3], pads=[1,1,1,1]);"
        " e = Add(a, d); y = Mul(e, c) }"
    ),
    "upsampled": (
        "x[1,3,5,6] -> y { a = Conv(x, w1[4,3,3,3], pads=[1,1,1,1]); r = Resize(a, _, {1.0,1.0,2.0,2.0},"
        ' mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"); y = Conv(r, w2[3,4,1,1]) }'
    ),
    "padded by itself": "x[1,3,6,7] -> y { p = Pad(x, {0,0,1,0,0,0,2,3}); y = Conv(p, w[5,3,3,3]) }",
    "max pool": "x[1,3,9,7] -> y { a = Conv(x, w[5,3,3,3]); y = MaxPool(a, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]) }",
    "max pool without padding": "x[1,3,11,9] -> y { y = MaxPool(x, kernel_shape=[2,2], strides=[2,2]) }",
    "average pool": "x[1,3,9,7] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]) }",
    "average pool that counts padding": (
        "x[1,3,9,7] -> y { y = AveragePool(x, kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1) }"
    ),
    "classifier": (
        "x[1,2,9,9] -> y { a = Conv(x, w1[6,2,3,3], strides=[2,2]); r = Relu(a); f = Flatten(r);"
        " g = Gemm(f, w2[96,7], b[7]); y = Softmax(g) }"
    ),
    "channels last": (
        "x[1,9,7,3] -> y { t = Transpose(x, perm=[0,3,1,2]); a = Conv(t, w1[4,3,3,3]); r = Relu(a);"
        " u = Transpose(r, perm=[0,2,3,1]); s = Add(u, c[4]); v = Transpose(s, perm=[0,3,1,2]);"
        " b = Conv(v, w2[5,4,3,3]); y = Transpose(b, perm=[0,2,3,1]) }"
    ),
    "inverse transposes": "x[1,3,5,4] -> y { a = Relu(x); t = Transpose(a, perm=[0,2,3,1]); u = Transpose(t, perm=[0,3,1,2]); y = Exp(u) }",
    "two inputs, two outputs": (
        "a[1,3,7,7], b[1,4,7,7] -> y, z { c = Conv(a, w1[4,3,3,3], pads=[1,1,1,1]); y = Add(c, b); z = Conv(y, w2[2,4,1,1]) }"
    ),
    "an input that is an output": "x[1,5], z[1,5] -> x, y { y = Add(x, z) }",
    "an output that is read": "x[1,3,7,7] -> r, y { a = Conv(x, w1[4,3,3,3]); r = Relu(a); y = Conv(r, w2[3,4,3,3]) }",
    "an output twice": "x[1,6] -> y, z { y = Relu(x); z = Identity(y) }",
    "reshaped at the end": "x[1,3,6,6] -> y { a = Conv(x, w[4,3,3,3]); y = Reshape(a, {1,4,16}) }",
    "reshaped input": "x[1,48] -> y { r = Reshape(x, {1,3,4,4}); y = Conv(r, w[5,3,3,3]) }",
    "reshaped alone": "x[1,48] -> y { y = Reshape(x, {1,3,16}) }",
    "embedding": "i[1,5]:i64 -> y { e = Gather(w[9,6], i); m = MatMul(e, v[6,4]); y = Relu(m) }",
    "an integer output": "x[1,9] -> y:i64 { y = ArgMax(x, axis=1) }",
    "an integer input that is an output": "i[1,3]:i64, x[1,4] -> i, y { y = Relu(x) }",
    "a constant output": "x[1,4] -> y, z { y = Relu(x); z = Identity(c[1,3]) }",
    "broadcast": "x[1,4,1,5], z[1,1,3,5] -> y { s = Sub(x, z); y = Div(s, c[4,1,1]) }",
    "averaged": "x[1,4,5,6] -> y { a = ReduceMean(x, axes=[2,3], keepdims=0); y = Gemm(a, w[4,3]) }",
    "norm across channels": (
        "x[1,3,6,6] -> y { a = Conv(x, w[8,3,3,3]); r = Relu(a); n = ReduceL2(r, axes=[1], keepdims=1);"
        " m = Max(n, {0.01}); d = Div(r, m); y = Mul(d, s[8,1,1]) }"
    ),
    "sum of what is computed": "x[1,6,7,8] -> y { h = HardSwish(x); y = ReduceSum(h, {2,3}, keepdims=0) }",
    "sum of products": "x[1,6,7,8], z[1,6,7,8] -> y { m = Mul(x, z); y = ReduceSum(m, {1}) }",
    "largest of three": "x[1,6], z[1,6] -> y { m = Exp(x); y = Max(m, z, x) }",
    "Gelu of ONNX Runtime": "x[1,5,8] -> y { g = com.microsoft::Gelu(x); y = MatMul(g, w[8,3]) }",
    "LayerNormalization": "x[1,5,8] -> y { y = LayerNormalization(x, s[8], b[8]) }",
    "shared weights": "x[1,4,7,7] -> y { a = Conv(x, w[4,4,3,3], pads=[1,1,1,1]); b = Relu(a); y = Conv(b, w, pads=[1,1,1,1]) }",
}

RECURRENT = {
    "LSTM": "x[6,1,5] -> y, h, c { y, h, c = LSTM(x, w[1,16,5], r[1,16,4], b[1,32], hidden_size=4) }",
    "LSTM both ways, from a state": (
        "x[5,2,3], h0[2,2,4], c0[2,2,4] -> y, h, c { y, h, c = LSTM(x, w[2,16,3], r[2,16,4], b[2,32], _, h0, c0,"
        ' direction="bidirectional", hidden_size=4) }'
    ),
    "GRU": "x[6,1,5] -> h { y, h = GRU(x, w[1,12,5], r[1,12,4], b[1,24], hidden_size=4) }",
    "GRU backwards, reset behind the product": (
        "x[6,1,5] -> y { y, h = GRU(x, w[1,12,5], r[1,12,4], b[1,24], {6}:i32,"
        ' direction="reverse", hidden_size=4, linear_before_reset=1) }'
    ),
    "RNN of many steps": "x[40,1,2] -> y, h { y, h = RNN(x, w[1,3,2], r[1,3,3], b[1,6], hidden_size=3) }",
    "RNN": 'x[3,2,5] -> y { y, h = RNN(x, w[1,4,5], r[1,4,4], hidden_size=4, activations=["Relu"]) }',
}

RANKING = {
    "TopK": "x[2,3,37] -> y, i:i64 { y, i = TopK(x, {5}, axis=-1) }",
    "TopK of all": "x[1,300] -> y, i:i64 { y, i = TopK(x, {300}) }",
    "TopK of one": "x[4,9] -> y, i:i64 { y, i = TopK(x, {1}) }",
    "the least along the first axis": "x[7,2,3] -> y, i:i64 { y, i = TopK(x, {3}, axis=0, largest=0) }",
    "the least along channels, unsorted": "x[1,8,2,3] -> y, i:i64 { y, i = TopK(x, {1}, axis=1, largest=0, sorted=0) }",
    "TopK of equals": "x[2,40] -> y, i:i64 { r = Relu(x); y, i = TopK(r, {35}) }",
    "TopK of a layer": "x[1,3,6,6] -> y, i:i64 { a = Conv(x, w[5,3,3,3]); f = Flatten(a); y, i = TopK(f, {20}) }",
    "places alone": "x[2,40] -> y { v, i = TopK(x, {3}); e = Gather(w[40,5], i); y = Relu(e) }",
    "values above the third": (
        "x[2,30] -> y { v, i = TopK(x, {3}); t = Slice(v, {-1}, {9}, {1}); s = Sub(x, t); y = Relu(s) }"
    ),
    "the third and all": "x[2,30] -> y, v { v, i = TopK(x, {3}); t = Slice(v, {2}, {3}, {1}); y = Sub(x, t) }",
    "the second of three": "x[2,30] -> y { v, i = TopK(x, {3}); t = Slice(v, {1}, {2}, {1}); y = Sub(x, t) }",
    "winners of a layer": (
        "x[1,3,6,7] -> y { a = Conv(x, w[5,3,3,3]); m = Abs(a); f = Flatten(m); v, i = TopK(f, {19}, axis=1);"
        " t = Slice(v, {-1}, {9223372036854775807}, {1}); s = Reshape(t, {-1,1,1,1}); l = Less(m, s); y = Where(l, 0.0, a) }"
    ),
    "winners among a few": (
        "x[1,3,6,7] -> y { a = Conv(x, w[5,3,3,3]); m = Abs(a); f = Flatten(m); e = Slice(f, {0}, {9223372036854775807}, {1}, {3});"
        " v, i = TopK(e, {9}, axis=1); t = Slice(v, {-1}, {9223372036854775807}, {1}); s = Reshape(t, {-1,1,1,1});"
        " l = Less(m, s); b = Where(l, 0.0, a); y = Conv(b, w2[4,5,3,3], pads=[1,1,1,1]) }"
    ),
    "winners of samples": (
        "x[3,50] -> y { r = Relu(x); m = Abs(r); v, i = TopK(m, {7}, axis=1); t = Slice(v, {-1}, {9223372036854775807}, {1});"
        " l = Less(m, t); y = Where(l, 0.0, r) }"
    ),
    "winners, more than are there": (
        "x[3,50] -> y { r = Relu(x); m = Abs(r); v, i = TopK(m, {45}, axis=1); t = Slice(v, {-1}, {9223372036854775807}, {1});"
        " l = Less(m, t); w = Where(l, 0.0, r); y = Gemm(w, u[50,4]) }"
    ),
    "winners by a constant": (
        "x[1,3,6,7] -> y { a = Conv(x, w[5,3,3,3]); m = Abs(a); l = Less(m, 0.2); b = Where(l, 0.0, a);"
        " y = Conv(b, w2[4,5,3,3]) }"
    ),
}

CASES = {**CONVOLUTIONS, **LINEAR, **NETWORKS, **RECURRENT, **RANKING}
