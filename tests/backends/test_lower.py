"""Lowering: whatever the shapes, strides, pads and neighbours, the firmware computes what ONNX Runtime does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pruneir.artifact import Artifact
from pruneir.backends.cortex_m.backend import CortexM
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.cortex_m.lower import lowered
from pruneir.deployment.compiling import Compiler
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.targets import TARGETS
from pruneir.verify.feeds import random_feeds
from support.bundles import bundled

pytestmark = [pytest.mark.qemu, pytest.mark.tvm]

TOLERANCE = 1e-4
"""Largest error, as a share of the largest output."""

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
    "LayerNormalization": "x[1,5,8] -> y { y = LayerNormalization(x, s[8], b[8]) }",
    "shared weights": "x[1,4,7,7] -> y { a = Conv(x, w[4,4,3,3], pads=[1,1,1,1]); b = Relu(a); y = Conv(b, w, pads=[1,1,1,1]) }",
}

CASES = {**CONVOLUTIONS, **LINEAR, **NETWORKS}
FEWER = [
    *CONVOLUTIONS,
    "Gemm",
    "Gemm of rows",
    "MatMul",
    "one output",
    "gate",
    "residual",
    "BatchNorm behind Relu",
    "channels last",
]
TARGETED = [
    *[("cortex-m4", case) for case in CASES],
    *[(cpu, case) for cpu in ("cortex-m7", "cortex-m55") for case in FEWER],
]


def network(text: str, cpu: str) -> Graph:
    """The graph as it is handed to the backend."""
    return Compiler.of(cpu).prepared(parse(text))


def compiled(graph: Graph, cpu: str, folder: str) -> Artifact:
    found: Artifact = CortexM().compile(graph, TARGETS[cpu], Path(folder), progress=lambda text, share: None)
    return found


@cache
def computed(cpu: str) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    """What one firmware of all cases of a processor computes, and what ONNX Runtime does."""
    graph = bundled({case: network(CASES[case], cpu) for target, case in TARGETED if target == cpu})
    feeds = random_feeds(graph, batch=1, seed=1)
    with TemporaryDirectory(prefix="pruneir-") as folder:
        outputs = compiled(graph, cpu, folder).run(feeds)
    wanted = next(evaluate(graph, graph.outputs, [feeds]))
    return outputs, {name: array.copy() for name, array in wanted.items()}  # one that is an input is its memory


@pytest.mark.parametrize(("cpu", "case"), TARGETED)
def test_the_firmware_computes_what_onnx_runtime_does(cpu: str, case: str) -> None:
    outputs, wanted = computed(cpu)
    names = [name for name in wanted if name.startswith(f"{case}/")]
    assert names
    for name in names:
        assert (outputs[name].dtype, outputs[name].shape) == (wanted[name].dtype, wanted[name].shape)
        assert np.abs(wanted[name]).max() > 0
        error = np.abs(outputs[name] - wanted[name]).max() / np.abs(wanted[name]).max()
        assert error < TOLERANCE


REFUSED = {
    "an operator that is not known": ("x[1,3,4] -> y { y = LpNormalization(x) }", "LpNormalization"),
    "a recurrent network": ("x[4,1,3] -> y { y = LSTM(x, w[1,8,3], r[1,8,2], hidden_size=2) }", "LSTM"),
    "no static code": ("x[1,6] -> y, i:i64 { y, i = TopK(x, {2}) }", "topk"),
    "scattered": ("x[4,3], z[2,3] -> y { y = ScatterND(x, i[2,1]{3,1}, z) }", "scatter"),
    "a size that depends on the data": (
        "x[2,4] -> y { i = NonZero(x); t = Transpose(i); y = GatherND(x, t) }",
        "depends on the data",
    ),
    "quantized": (
        "x[1,4] -> y { q = QuantizeLinear(x, s[]{0.1}, z[]{120}:u8); y = DequantizeLinear(q, s, z) }",
        "quantized",
    ),
    "a size that is not fixed": ("x[1,3,H,8] -> y { y = Conv(x, w[4,3,3,3]) }", "--input-shape x:1,3,…,8"),
    "half precision": ("x[1,4]:f16 -> y:f16 { y = Relu(x) }", "float32"),
    "another shape": (
        "x[1,3,4,4] -> y { y = ConvTranspose(x, w[3,2,3,3], strides=[2,2], output_shape=[9,8]) }",
        "output 'y' has the shape [1, 2, 9, 8]",
    ),
    "antialiased": (
        'opset 18; x[1,2,6,8] -> y { y = Resize(x, _, {1.0,1.0,0.5,0.5}, mode="linear", antialias=1) }',
        "antialias",
    ),
    "resized to a part of a pixel": ('x[1,2,3,5] -> y { y = Resize(x, _, {1.0,1.0,1.7,0.7}, mode="linear") }', "sizes"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compiled_is_one_line(
    text: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PruneirError) as caught:
        compiled(network(text, "cortex-m4"), "cortex-m4", str(tmp_path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


def test_layers_are_called_as_in_the_graph_by_their_weights() -> None:
    graph = parse(
        """x[1,4,6,6] -> y {
             a = Conv(x, wa[8,4,3,3], strides=[2,2], pads=[1,1,1,1]); r = Relu(a)
             s = Conv(x, ws[8,4,1,1], strides=[2,2]); b = Conv(r, wb[8,8,3,3], pads=[1,1,1,1]); t = Add(b, s)
             g = GlobalAveragePool(t); f = Flatten(g); y = Gemm(f, wy[5,8], transB=1)
           }"""
    )
    calls = [call for call in lowered(graph, CPUS["cortex-m4"]).calls if call.macs]
    assert all(call.schedule.startswith("tile") for call in calls), "none falls back to the default schedule"
    macs = {call.layer: call.macs for call in calls}
    assert macs == {"a": 9 * 8 * 4 * 9, "s": 9 * 8 * 4, "b": 9 * 8 * 8 * 9, "y": 5 * 8}
