"""Operators and their variants as one-line graphs: what every one must compute, and what its gradient must be."""

from __future__ import annotations

CONVOLUTIONS = {
    "conv": "x[N,3,5,5] -> y { y = Conv(x, w[4,3,3,3], b[4]) }",
    "conv 1d": "x[N,3,9] -> y { y = Conv(x, w[4,3,3], strides=[2], pads=[1,1]) }",
    "conv 3d": "x[N,2,4,4,4] -> y { y = Conv(x, w[3,2,2,2,2], b[3]) }",
    "conv padded unevenly": "x[N,3,5,5] -> y { y = Conv(x, w[2,3,3,3], pads=[0,1,2,0]) }",
    "conv grouped": "x[N,4,5,5] -> y { y = Conv(x, w[6,2,3,3], b[6], group=2, strides=[2,1]) }",
    "conv depthwise dilated": "x[N,4,7,7] -> y { y = Conv(x, w[4,1,3,3], group=4, dilations=[2,1]) }",
    "conv same upper": 'x[N,2,5,6] -> y { y = Conv(x, w[2,2,4,3], auto_pad="SAME_UPPER", strides=[2,2]) }',
    "conv same lower": 'x[N,2,5,6] -> y { y = Conv(x, w[2,2,2,4], auto_pad="SAME_LOWER", strides=[2,1]) }',
    "conv valid": 'x[N,2,5,6] -> y { y = Conv(x, w[2,2,2,4], auto_pad="VALID") }',
    "conv of an activation": "x[1,2,5,5], k[3,2,2,2] -> y { y = Conv(x, k) }",
    "transposed": "x[N,3,4,4] -> y { y = ConvTranspose(x, w[3,2,3,3], b[2], strides=[2,2]) }",
    "transposed, padded and extended": (
        "x[N,3,4,4] -> y { y = ConvTranspose(x, w[3,2,3,3], strides=[2,3], pads=[1,0,0,1], output_padding=[1,2]) }"
    ),
    "transposed to a shape": "x[N,3,4,4] -> y { y = ConvTranspose(x, w[3,2,3,3], strides=[2,2], output_shape=[9,8]) }",
    "transposed same upper": 'x[N,2,4,4] -> y { y = ConvTranspose(x, w[2,3,3,3], strides=[2,2], auto_pad="SAME_UPPER") }',
    "transposed same lower": 'x[N,2,4,4] -> y { y = ConvTranspose(x, w[2,3,3,3], strides=[2,2], auto_pad="SAME_LOWER") }',
    "transposed and grouped": "x[N,4,3,3] -> y { y = ConvTranspose(x, w[4,3,2,2], b[6], group=2, dilations=[2,1]) }",
    "transposed 1d": "x[N,2,5] -> y { y = ConvTranspose(x, w[2,3,3], strides=[2], pads=[1,1]) }",
}

POOLS = {
    "max pool": "x[N,2,6,6] -> y { y = MaxPool(x, kernel_shape=[2,3], strides=[2,1]) }",
    "max pool padded": "x[N,2,6,6] -> y { y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]) }",
    "max pool unevenly padded": "x[N,2,6,6] -> y { y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], pads=[0,0,1,1]) }",
    "max pool ceil": "x[N,2,6,7] -> y { y = MaxPool(x, kernel_shape=[3,3], strides=[2,3], ceil_mode=1) }",
    "max pool ceil, padded": "x[N,2,6,7] -> y { y = MaxPool(x, kernel_shape=[3,3], strides=[3,2], pads=[1,0,1,1], ceil_mode=1) }",
    "max pool dilated": "x[N,2,7,7] -> y { y = MaxPool(x, kernel_shape=[2,2], dilations=[3,2]) }",
    "max pool same": 'x[N,2,5,7] -> y { y = MaxPool(x, kernel_shape=[2,2], strides=[2,2], auto_pad="SAME_UPPER") }',
    "max pool 1d": "x[N,2,9] -> y { y = MaxPool(x, kernel_shape=[3]) }",
    "max pool 3d": "x[N,2,4,4,4] -> y { y = MaxPool(x, kernel_shape=[2,2,2], strides=[2,2,2]) }",
    "max pool with indices": "x[N,2,6,6] -> y, i:i64 { y, i = MaxPool(x, kernel_shape=[3,3], strides=[2,2], pads=[0,1,1,1]) }",
    "average pool": "x[N,2,6,6] -> y { y = AveragePool(x, kernel_shape=[2,3], strides=[2,1]) }",
    "average pool padded": "x[N,2,6,6] -> y { y = AveragePool(x, kernel_shape=[3,3], pads=[1,1,1,1]) }",
    "average pool counting pads": "x[N,2,6,6] -> y { y = AveragePool(x, kernel_shape=[3,3], pads=[1,0,0,1], count_include_pad=1) }",
    "average pool ceil": "x[N,2,6,7] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,3], ceil_mode=1) }",
    "average pool ceil, counting pads": (
        "x[N,2,6,7] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1) }"
    ),
    "average pool same lower": 'x[N,2,5,7] -> y { y = AveragePool(x, kernel_shape=[2,2], strides=[2,2], auto_pad="SAME_LOWER") }',
    "average pool dilated": "opset 19; x[N,2,7,7] -> y { y = AveragePool(x, kernel_shape=[2,2], dilations=[2,3]) }",
    "average pool 1d": "x[N,2,9] -> y { y = AveragePool(x, kernel_shape=[3], strides=[2]) }",
    "lp pool": "x[N,2,6,6] -> y { y = LpPool(x, kernel_shape=[2,2], strides=[2,2], p=2) }",
    "global average": "x[N,3,4,5] -> y { y = GlobalAveragePool(x) }",
    "global max": "x[N,3,4,5] -> y { y = GlobalMaxPool(x) }",
    "global lp": "x[N,3,4,5] -> y { y = GlobalLpPool(x, p=3) }",
}

PRODUCTS = {
    "gemm": "x[N,4] -> y { y = Gemm(x, w[4,3], b[3]) }",
    "gemm transposed": "x[N,4] -> y { y = Gemm(x, w[3,4], b[3], transB=1) }",
    "gemm transposed twice": "x[4,5] -> y { y = Gemm(x, w[3,4], transA=1, transB=1) }",
    "gemm scaled": "x[N,4] -> y { y = Gemm(x, w[4,3], b[3], alpha=0.5, beta=2.0) }",
    "gemm with a matrix": "x[2,4] -> y { y = Gemm(x, w[4,3], b[2,1]) }",
    "gemm with a number": "x[N,4] -> y { y = Gemm(x, w[4,3], 0.5, beta=0.5) }",
    "matmul": "x[N,2,3,4] -> y { y = MatMul(x, w[4,5]) }",
    "matmul of a vector": "x[N,3,4] -> y { y = MatMul(x, w[4]) }",
    "matmul of activations": "x[N,2,3,4], z[N,2,4,3] -> y { y = MatMul(x, z) }",
    "einsum": 'x[N,3,4] -> y { y = Einsum(x, w[4,5], equation="bij, jk -> bki") }',
    "einsum of activations": 'x[N,3,4], z[N,3,4] -> y { y = Einsum(x, z, equation="bhd,bkd->bhk") }',
}

POINTWISE = {
    **{
        kind.lower(): f"x[N,4,8] -> y {{ y = {kind}(x) }}"
        for kind in (
            "Abs Atan Asinh Ceil Cos Cosh Elu Celu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Neg Relu Round "
            "Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh ThresholdedRelu Reciprocal"
        ).split()
    },
    **{
        kind.lower(): f"x[N,3,4] -> y {{ a = Sigmoid(x); y = {kind}(a) }}"
        for kind in "Log Sqrt Asin Acos Atanh".split()
    },
    "acosh": "x[N,3] -> y { e = Exp(x); a = Add(e, 1.1); y = Acosh(a) }",
    "mish": "opset 18; x[N,3] -> y { y = Mish(x) }",
    "gelu": "opset 20; x[N,3] -> y { y = Gelu(x) }",
    "gelu by tanh": 'opset 20; x[N,3] -> y { y = Gelu(x, approximate="tanh") }',
    "swish": "opset 24; x[N,3] -> y { y = Swish(x, alpha=0.7) }",
    "leaky relu, its slope": "x[N,4] -> y { y = LeakyRelu(x, alpha=0.3) }",
    "elu, its height": "x[N,4] -> y { y = Elu(x, alpha=0.3) }",
    "celu, its height": "x[N,4] -> y { y = Celu(x, alpha=0.3) }",
    "selu, its heights": "x[N,4] -> y { y = Selu(x, alpha=0.3, gamma=1.5) }",
    "hard sigmoid, its line": "x[N,4] -> y { y = HardSigmoid(x, alpha=0.3, beta=0.4) }",
    "shrink, its bias": "x[N,4] -> y { y = Shrink(x, bias=0.3, lambd=0.4) }",
    "thresholded relu, its threshold": "x[N,16] -> y { y = ThresholdedRelu(x, alpha=0.3) }",
    "prelu": "x[N,3,4,4] -> y { y = PRelu(x, s[3,1,1]) }",
    "prelu, one slope": "x[N,3,4,4] -> y { y = PRelu(x, s[1]) }",
    "add": "x[N,3,4] -> y { y = Add(x, b[3,1]) }",
    "add of activations": "x[N,3,4], z[4] -> y { y = Add(x, z) }",
    "sub": "x[N,3,4] -> y { y = Sub(b[4], x) }",
    "mul": "x[N,3,4], z[N,1,4] -> y { y = Mul(x, z) }",
    "div": "x[N,3,4] -> y { e = Exp(x); y = Div(c[3,1], e) }",
    "mod": "x[N,3,4] -> y { y = Mod(x, 0.7, fmod=1) }",
    "pow": "x[N,3,4] -> y { y = Pow(x, 2.0) }",
    "pow of an activation": "x[N,3,4], z[4] -> y { e = Exp(x); y = Pow(e, z) }",
    "sum": "x[N,3,4], z[N,3,1] -> y { y = Sum(x, z, c[4]) }",
    "mean": "x[N,3,4], z[N,3,1] -> y { y = Mean(x, z, c[4]) }",
    "max": "x[N,3,4], z[N,3,1] -> y { y = Max(x, z, c[4]) }",
    "min": "x[N,3,4], z[N,3,1] -> y { y = Min(x, z) }",
    "where": "x[N,3,4], z[N,1,4] -> y { c = Greater(x, z); y = Where(c, x, z) }",
    "compared": "x[N,4], z[4] -> y { a = LessOrEqual(x, z); b = Less(z, x); c = Xor(a, b); d = Not(c); e = Or(c, d); y = Where(e, x, z) }",
    "equal": "x[N,4] -> y { a = Equal(x, x); b = GreaterOrEqual(x, 0.0); c = And(a, b); y = Where(c, x, 2.0) }",
    "not a number": "x[N,4] -> y { a = IsNaN(x); b = IsInf(x); c = Or(a, b); y = Where(c, 0.0, x) }",
    "clip": "x[N,3,4] -> y { y = Clip(x, -0.5, 0.6) }",
    "clip above": "x[N,3,4] -> y { y = Clip(x, _, 0.6) }",
    "clip by attributes": "opset 7; x[N,3,4] -> y { y = Clip(x, min=-0.5, max=0.6) }",
    "cast": "x[N,4] -> y { i = Cast(x, to=7); f = Cast(i, to=1); y = Mul(x, f) }",
    "cast to half and back": "x[N,4] -> y { c = Cast(x, to=11); y = Cast(c, to=1) }",
    "cast like": "x[N,4] -> y { i = Cast(x, to=7); f = CastLike(i, x); y = Mul(x, f) }",
    "dropout": "x[N,4] -> y { y = Dropout(x, 0.5) }",
    "dropout by attribute": "opset 7; x[N,4] -> y { y = Dropout(x, ratio=0.3) }",
    "bits": 'x[N,4] -> y { i = Cast(x, to=2); j = BitShift(i, c[]{1}:u8, direction="LEFT"); f = Cast(j, to=1); y = Mul(x, f) }',
    "integer division": "x[N,4] -> y { i = Cast(x, to=7); d = Div(i, {2}); m = Mod(i, {3}); s = Add(d, m); f = Cast(s, to=1); y = Add(x, f) }",
}

NORMS = {
    "batch norm": "x[N,3,4,4] -> y { y = BatchNormalization(x, s[3], b[3], m[3], v[3], epsilon=0.01) }",
    "batch norm of a matrix": "opset 9; x[N,3] -> y { y = BatchNormalization(x, s[3], b[3], m[3], v[3]) }",
    "instance norm": "x[N,3,4,4] -> y { y = InstanceNormalization(x, s[3], b[3], epsilon=0.01) }",
    "instance norm 1d": "x[N,3,5] -> y { y = InstanceNormalization(x, s[3], b[3]) }",
    "group norm 21": "opset 21; x[N,4,3,3] -> y { y = GroupNormalization(x, s[4], b[4], num_groups=2) }",
    "group norm 18": "opset 18; x[N,4,3,3] -> y { y = GroupNormalization(x, s[2], b[2], num_groups=2) }",
    "layer norm": "x[N,3,4] -> y { y = LayerNormalization(x, s[4], b[4]) }",
    "layer norm over two axes": "x[N,3,4] -> y { y = LayerNormalization(x, s[3,4], axis=1, epsilon=0.01) }",
    "layer norm with statistics": "x[N,3,4] -> y, m, i { y, m, i = LayerNormalization(x, s[4], b[4]) }",
    "rms norm": "opset 23; x[N,3,4] -> y { y = RMSNormalization(x, s[4], axis=-1) }",
    "simplified layer norm": "x[N,3,4] -> y { y = SimplifiedLayerNormalization(x, s[4], axis=-1) }",
    "mean variance norm": "x[N,3,4,4] -> y { y = MeanVarianceNormalization(x) }",
    "mean variance norm of an image": "x[N,3,4,4] -> y { y = MeanVarianceNormalization(x, axes=[2,3]) }",
    "lp norm": "x[N,3,4] -> y { y = LpNormalization(x) }",
    "lp norm 1": "x[N,3,4] -> y { y = LpNormalization(x, axis=1, p=1) }",
    "lrn": "x[N,6,3,3] -> y { y = LRN(x, size=3, alpha=0.5, beta=0.6, bias=1.5) }",
    "lrn of an even size": "x[4,4,3,3] -> y { y = LRN(x, size=4, alpha=0.5) }",
    "softmax": "x[N,3,4] -> y { y = Softmax(x) }",
    "softmax over channels": "x[N,3,4] -> y { y = Softmax(x, axis=1) }",
    "softmax of opset 11": "opset 11; x[N,3,4] -> y { y = Softmax(x) }",
    "log softmax": "x[N,3,4] -> y { y = LogSoftmax(x, axis=-2) }",
    "log softmax of opset 11": "opset 11; x[N,3,4] -> y { y = LogSoftmax(x, axis=2) }",
    "hardmax": "x[N,3,4] -> y { y = Hardmax(x) }",
}

REDUCTIONS = {
    **{
        kind: f"x[N,3,4] -> y {{ e = Exp(x); y = {kind}(e, axes=[1,-1], keepdims=0) }}"
        for kind in (
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare"
        ).split()
    },
    "ReduceSum": "x[N,3,4] -> y { y = ReduceSum(x, {1}) }",
    "ReduceSum of opset 11": "opset 11; x[N,3,4] -> y { y = ReduceSum(x, axes=[1,2], keepdims=0) }",
    "ReduceSum of all": "x[N,3,4] -> y { y = ReduceSum(x, keepdims=0) }",
    "ReduceSum of none": "x[N,3,4] -> y { y = ReduceSum(x, noop_with_empty_axes=1) }",
    "ReduceMean of opset 18": "opset 18; x[N,3,4] -> y { y = ReduceMean(x, {-1}) }",
    "ReduceMax of opset 18": "opset 18; x[N,3,4] -> y { y = ReduceMax(x, {0,2}, keepdims=0) }",
    "argmax": "x[N,3,4] -> y:i64 { y = ArgMax(x, axis=1) }",
    "argmin": "x[N,3,4] -> y:i64 { y = ArgMin(x, axis=-1, keepdims=0, select_last_index=1) }",
    "cumsum": "x[N,3,4] -> y { y = CumSum(x, axis[]{1}) }",
    "cumsum back": "x[N,3,4] -> y { y = CumSum(x, axis[]{-1}, exclusive=1, reverse=1) }",
    "topk": "x[N,3,6] -> y, i:i64 { y, i = TopK(x, {3}, axis=-1) }",
    "topk, the least": "x[N,6,3] -> y, i:i64 { y, i = TopK(x, {2}, axis=1, largest=0) }",
    "topk by attribute": "opset 7; x[N,6] -> y, i:i64 { y, i = TopK(x, k=2) }",
}

SHAPES = {
    "reshape": "x[N,3,4] -> y { y = Reshape(x, {0,-1}) }",
    "reshape by the shape": (
        "x[N,3,4] -> y { s = Shape(x); n = Gather(s, 0); u = Unsqueeze(n, {0}); t = Concat(u, {-1}, axis=0); y = Reshape(x, t) }"
    ),
    "flatten": "x[N,3,4,2] -> y { y = Flatten(x, axis=2) }",
    "flatten from the end": "x[N,3,4,2] -> y { y = Flatten(x, axis=-1) }",
    "transpose": "x[N,3,4] -> y { y = Transpose(x, perm=[0,2,1]) }",
    "transpose, reversed": "x[N,3,4] -> y { y = Transpose(x) }",
    "squeeze": "x[N,1,4,1] -> y { y = Squeeze(x, {1,-1}) }",
    "squeeze by attribute": "opset 11; x[N,1,4,1] -> y { y = Squeeze(x, axes=[1]) }",
    "squeeze everything": "x[2,1,4,1] -> y { y = Squeeze(x) }",
    "unsqueeze": "x[N,4] -> y { y = Unsqueeze(x, {0,-1}) }",
    "unsqueeze by attribute": "opset 11; x[N,4] -> y { y = Unsqueeze(x, axes=[1,3]) }",
    "concat": "x[2,3,4], z[2,2,4] -> y { y = Concat(x, z, c[2,1,4], axis=1) }",
    "split": "x[N,6,4] -> a, b, c { a, b, c = Split(x, axis=1) }",
    "split by sizes": "x[N,6,4] -> a, b { a, b = Split(x, {4,2}, axis=1) }",
    "split by attribute": "opset 11; x[N,6] -> a, b { a, b = Split(x, axis=-1, split=[1,5]) }",
    "split in unequal parts": "opset 18; x[N,7] -> a, b, c { a, b, c = Split(x, axis=1, num_outputs=3) }",
    "slice": "x[N,6,5] -> y { y = Slice(x, {1,-3}, {5,9223372036854775807}, {1,2}, {2,1}) }",
    "slice backwards": "x[N,6,5] -> y { y = Slice(x, {-1,4}, {-9223372036854775807,0}, {1,2}, {-2,-1}) }",
    "slice by attribute": "opset 9; x[N,6,5] -> y { y = Slice(x, axes=[1,2], starts=[1,-3], ends=[1000,-1]) }",
    "gather": "x[N,6,5] -> y { y = Gather(x, i[2,2]{0,5,-1,2}, axis=1) }",
    "gather one": "x[N,6,5] -> y { y = Gather(x, -2, axis=2) }",
    "embedding": "i[N,3]:i64 -> y { y = Gather(w[4,5], i) }",
    "gather elements": "x[2,3] -> y { y = GatherElements(x, i[2,2]{0,-1,2,1}, axis=1) }",
    "gather nd": "x[4,3,2] -> y { y = GatherND(x, i[2,2]{0,1,-1,2}) }",
    "gather nd in batches": "x[2,3,2] -> y { y = GatherND(x, i[2,1]{1,-1}, batch_dims=1) }",
    "scatter elements": "x[3,3], z[2,3] -> y { y = ScatterElements(x, i[2,3]{1,0,2,0,2,1}, z, axis=0) }",
    "scatter elements, added": 'opset 18; x[3,3], z[2,3] -> y { y = ScatterElements(x, i[2,3]{1,0,2,1,2,1}, z, reduction="add") }',
    "scatter nd": "x[4,3], z[2,3] -> y { y = ScatterND(x, i[2,1]{3,1}, z) }",
    "scatter nd, added": 'x[4,3], z[2] -> y { y = ScatterND(x, i[2,2]{3,1,3,1}, z, reduction="add") }',
    "scatter nd, largest": 'opset 18; x[4,3], z[2,3] -> y { y = ScatterND(x, i[2,1]{3,1}, z, reduction="max") }',
    "expand": "x[N,1,4] -> y { y = Expand(x, {1,3,1}) }",
    "tile": "x[N,2,3] -> y { y = Tile(x, {1,2,3}) }",
    "pad": "x[N,2,4,4] -> y { y = Pad(x, {0,1,1,0,0,0,2,1}, 0.5) }",
    "pad, cutting": "x[N,2,4,4] -> y { y = Pad(x, {0,0,-1,0,0,0,2,-1}) }",
    "pad, reflected": 'x[N,2,4,4] -> y { y = Pad(x, {0,0,1,2,0,0,0,3}, mode="reflect") }',
    "pad by the edge": 'x[N,2,4,4] -> y { y = Pad(x, {0,0,1,2,0,0,0,3}, mode="edge") }',
    "pad, wrapped": 'opset 19; x[N,2,4,4] -> y { y = Pad(x, {0,0,1,2,0,0,0,3}, mode="wrap") }',
    "pad of some axes": "opset 18; x[N,2,4,4] -> y { y = Pad(x, {1,2}, 0.5, {-1}) }",
    "pad by attribute": "opset 7; x[N,2,4,4] -> y { y = Pad(x, pads=[0,0,1,1,0,0,0,2], value=0.5) }",
    "filled by shape": "x[N,3] -> y { s = Shape(x); c = ConstantOfShape(s, value={2.5}); y = Mul(x, c) }",
    "shape from, to": "opset 15; x[N,3,4] -> y { s = Shape(x, start=1); c = ConstantOfShape(s); y = Add(x, c) }",
    "range": "x[N,5] -> y { s = Shape(x); n = Gather(s, 1); r = Range(zero[]{0}, n, one[]{1}); f = Cast(r, to=1); y = Mul(x, f) }",
    "size": "x[N,3] -> y { n = Size(x); f = Cast(n, to=1); y = Div(x, f) }",
    "where it is not zero": "x[2,4] -> y { i = NonZero(x); t = Transpose(i); y = GatherND(x, t) }",
    "eye": "x[3,4] -> y { e = EyeLike(x, k=1); y = Mul(x, e) }",
    "triangle": "x[N,3,4] -> y { y = Trilu(x, k[]{1}) }",
    "lower triangle": "x[N,3,4] -> y { y = Trilu(x, upper=0) }",
    "depth to space": "x[N,8,2,3] -> y { y = DepthToSpace(x, blocksize=2) }",
    "depth to space crd": 'x[N,8,2,3] -> y { y = DepthToSpace(x, blocksize=2, mode="CRD") }',
    "space to depth": "x[N,2,4,6] -> y { y = SpaceToDepth(x, blocksize=2) }",
    "one hot": "x[N,3] -> y { i = ArgMax(x, axis=1, keepdims=0); h = OneHot(i, d[]{3}, v[2]{0.5,2.0}); y = Mul(x, h) }",
    "compress": "x[2,4] -> y { y = Compress(x, c[4]{1,0,1,1}:bool, axis=1) }",
    "reverse sequence": "x[3,2,2] -> y { y = ReverseSequence(x, l[2]{2,3}) }",
    "non-maximum suppression": "b[1,4,4], s[1,2,4] -> y:i64 { c = Exp(b); y = NonMaxSuppression(c, s, {3}, t[1]{0.5}) }",
}

IMAGES = {
    "resize nearest": 'x[N,2,3,4] -> y { y = Resize(x, _, {1.0,1.0,2.0,2.0}, mode="nearest") }',
    "resize nearest, asymmetric": (
        "x[N,2,3,4] -> y { y = Resize(x, _, {1.0,1.0,2.0,1.5}, "
        'coordinate_transformation_mode="asymmetric", nearest_mode="floor") }'
    ),
    "resize nearest, ceil": (
        "x[N,2,5,4] -> y { y = Resize(x, _, {1.0,1.0,0.6,1.5}, "
        'coordinate_transformation_mode="align_corners", nearest_mode="ceil") }'
    ),
    "resize linear": 'x[N,2,3,4] -> y { y = Resize(x, _, {1.0,1.0,2.0,2.0}, mode="linear") }',
    "resize linear, odd scale": 'x[N,2,3,5] -> y { y = Resize(x, _, {1.0,1.0,1.7,0.7}, mode="linear") }',
    "resize linear, aligned": (
        'x[N,2,3,4] -> y { y = Resize(x, _, {1.0,1.0,2.0,2.0}, mode="linear", coordinate_transformation_mode="align_corners") }'
    ),
    "resize linear, asymmetric": (
        'x[N,2,3,4] -> y { y = Resize(x, _, {1.0,1.0,2.0,2.0}, mode="linear", coordinate_transformation_mode="asymmetric") }'
    ),
    "resize linear, pytorch": (
        'x[2,2,3,4] -> y { y = Resize(x, _, _, {2,2,1,7}, mode="linear", coordinate_transformation_mode="pytorch_half_pixel") }'
    ),
    "resize to a size": 'x[2,2,3,4] -> y { y = Resize(x, _, _, {2,2,7,5}, mode="linear") }',
    "resize 1d": 'x[N,2,5] -> y { y = Resize(x, _, {1.0,1.0,2.0}, mode="linear") }',
    "resize cubic": 'x[N,2,4,5] -> y { y = Resize(x, _, {1.0,1.0,2.0,1.5}, mode="cubic") }',
    "resize cubic, its own a": (
        'x[N,1,4,5] -> y { y = Resize(x, _, {1.0,1.0,0.8,1.5}, mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1) }'
    ),
    "resize antialiased": 'opset 18; x[N,2,6,8] -> y { y = Resize(x, _, {1.0,1.0,0.6,0.5}, mode="linear", antialias=1) }',
    "resize of some axes": 'opset 18; x[N,2,6,8] -> y { y = Resize(x, _, {0.5,2.0}, mode="linear", axes=[2,3]) }',
    "resize, cropping": (
        "x[N,1,4,5] -> y { y = Resize(x, r[8]{0.0,0.0,0.2,0.1,1.0,1.0,0.9,1.3}, {1.0,1.0,1.5,2.0}, "
        'mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=3.0) }'
    ),
    "resize of opset 10": 'opset 10; x[N,2,3,4] -> y { y = Resize(x, {1.0,1.0,2.0,2.0}, mode="linear") }',
    "upsample": 'opset 9; x[N,2,3,4] -> y { y = Upsample(x, {1.0,1.0,2.0,3.0}, mode="nearest") }',
    "upsample by attribute": 'opset 7; x[N,2,3,4] -> y { y = Upsample(x, scales=[1.0,1.0,2.0,2.0], mode="linear") }',
    "grid sample": "x[1,2,4,4], g[1,3,3,2] -> y { t = Tanh(g); y = GridSample(x, t) }",
    "grid sample, cubic": 'x[1,2,4,4], g[1,3,3,2] -> y { t = Tanh(g); y = GridSample(x, t, mode="bicubic", align_corners=1) }',
    "grid sample, reflected": 'x[1,2,4,4], g[1,3,3,2] -> y { y = GridSample(x, g, padding_mode="reflection") }',
    "grid sample of opset 20": 'opset 20; x[1,2,4,4], g[1,3,3,2] -> y { y = GridSample(x, g, mode="linear", padding_mode="border") }',
}

RECURRENT = {
    "lstm": "x[4,N,3] -> y, h, c { y, h, c = LSTM(x, w[1,8,3], r[1,8,2], b[1,16], hidden_size=2) }",
    "lstm, both ways": 'x[4,N,3] -> y { y = LSTM(x, w[2,8,3], r[2,8,2], b[2,16], hidden_size=2, direction="bidirectional") }',
    "lstm backwards": 'x[4,N,3] -> y, h { y, h = LSTM(x, w[1,8,3], r[1,8,2], hidden_size=2, direction="reverse") }',
    "lstm with states and peepholes": (
        "x[4,2,3], i[1,2,2], j[1,2,2] -> y, h, c "
        "{ y, h, c = LSTM(x, w[1,8,3], r[1,8,2], b[1,16], _, i, j, p[1,6], hidden_size=2) }"
    ),
    "lstm of ragged sequences": "x[4,2,3] -> y, h, c { y, h, c = LSTM(x, w[1,8,3], r[1,8,2], b[1,16], l[2]{2,4}:i32, hidden_size=2) }",
    "lstm with a coupled gate": "x[4,N,3] -> y { y = LSTM(x, w[1,8,3], r[1,8,2], hidden_size=2, input_forget=1, clip=0.4) }",
    "lstm of other activations": (
        'x[4,N,3] -> y { y = LSTM(x, w[1,8,3], r[1,8,2], hidden_size=2, activations=["HardSigmoid", "Softsign", "Elu"], '
        "activation_alpha=[0.3, 0.7], activation_beta=[0.4]) }"
    ),
    "gru": "x[4,N,3] -> y, h { y, h = GRU(x, w[1,6,3], r[1,6,2], b[1,12], hidden_size=2) }",
    "gru, reset after the product": "x[4,N,3] -> y { y = GRU(x, w[1,6,3], r[1,6,2], b[1,12], hidden_size=2, linear_before_reset=1) }",
    "gru, both ways, ragged": (
        "x[4,2,3] -> y, h { y, h = GRU(x, w[2,6,3], r[2,6,2], b[2,12], l[2]{2,4}:i32, hidden_size=2, "
        'direction="bidirectional") }'
    ),
    "rnn": "x[4,N,3], i[1,N,2] -> y, h { y, h = RNN(x, w[1,2,3], r[1,2,2], b[1,4], _, i, hidden_size=2) }",
    "rnn of relu": 'x[4,N,3] -> y { y = RNN(x, w[1,2,3], r[1,2,2], hidden_size=2, activations=["Relu"]) }',
    "lstm, batch first": "x[N,4,3] -> y, h { y, h = LSTM(x, w[1,8,3], r[1,8,2], b[1,16], hidden_size=2, layout=1) }",
}

ATTENTION = {
    "attention": "opset 23; q[N,2,3,4], k[N,2,5,4], v[N,2,5,3] -> y { y = Attention(q, k, v) }",
    "attention of flat heads": (
        "opset 23; q[N,3,8], k[N,5,4], v[N,5,6] -> y { y = Attention(q, k, v, q_num_heads=4, kv_num_heads=2, scale=0.3) }"
    ),
    "attention, causal and masked": "opset 23; q[N,2,3,4], k[N,2,3,4], v[N,2,3,4] -> y { y = Attention(q, k, v, m[3,3], is_causal=1) }",
    "attention with a cache": (
        "opset 23; q[N,2,3,4], k[N,2,3,4], v[N,2,3,4], a[N,2,2,4], b[N,2,2,4] -> y, p, s "
        "{ y, p, s = Attention(q, k, v, _, a, b, is_causal=1) }"
    ),
}

QUANTIZED = {
    "quantized and back": "x[N,4] -> y { q = QuantizeLinear(x, s[]{0.1}, z[]{120}:u8); y = DequantizeLinear(q, s, z) }",
    "quantized per channel": (
        "x[N,3,4] -> y { q = QuantizeLinear(x, s[3]{0.1,0.02,0.3}, z[3]{0,1,-2}:i8, axis=1); y = DequantizeLinear(q, s, z, axis=1) }"
    ),
    "quantized weight": "x[N,4] -> y { w = DequantizeLinear(q[4,3]:i8, s[]{0.1}, z[]{1}:i8); y = MatMul(x, w) }",
}

NOT_IN_ORT = {"lrn of an even size", "lstm, batch first"}
"""What is checked against the onnx package's own implementation."""

NO_GRADIENT = {"argmax", "argmin", "hardmax", "non-maximum suppression"}
"""What chooses, and has no gradient at all."""

CASES = {
    **CONVOLUTIONS,
    **POOLS,
    **PRODUCTS,
    **POINTWISE,
    **NORMS,
    **REDUCTIONS,
    **SHAPES,
    **IMAGES,
    **RECURRENT,
    **ATTENTION,
    **QUANTIZED,
}
