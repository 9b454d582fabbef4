"""Lowering: whatever the shapes, strides, pads and neighbours, the firmware computes what ONNX Runtime does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from tvm.s_tir import ScheduleError

from pruneir.artifact import Artifact
from pruneir.backends.cortex_m import reducing
from pruneir.backends.cortex_m.backend import CortexM
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.cortex_m.lower import lowered
from pruneir.backends.lowering import bare
from pruneir.backends.lowering.program import Call
from pruneir.deployment.compiling import Compiler
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.targets import TARGETS
from pruneir.verify.feeds import random_feeds
from support.bundles import bundled
from support.lowering import CASES, CONVOLUTIONS, NETWORKS

pytestmark = [pytest.mark.qemu, pytest.mark.tvm]

TOLERANCE = 1e-4
"""Largest error, as a share of the largest output."""

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
    "in the place of the input",
    "gate without a convolution",
    "TopK",
    "TopK of equals",
    "winners of a layer",
    "winners among a few",
    "hard swish",
    "clipped",
    "LayerNormalization",
    "broadcast",
    "average pool",
    "LSTM",
    "GRU",
]
TARGETED = [
    *[("cortex-m4", case) for case in CASES],
    *[(cpu, case) for cpu in ("cortex-m7", "cortex-m33", "cortex-m55") for case in FEWER],
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


@pytest.mark.parametrize(
    ("cpu", "case"),
    [pytest.param(*each, marks=() if each[0] == "cortex-m4" else pytest.mark.slow) for each in TARGETED],
)
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
    "sequences of several lengths": (
        "x[4,1,3] -> y { y = LSTM(x, w[1,8,3], r[1,8,2], _, {2}:i32, hidden_size=2) }",
        "y (LSTM): a batch of sequences of several lengths is not compiled; export it without sequence_lens",
    ),
    "a bound in an LSTM": (
        "x[4,1,3] -> y { y = LSTM(x, w[1,8,3], r[1,8,2], hidden_size=2, clip=3.0) }",
        "y (LSTM): the attribute clip is not compiled",
    ),
    "computed weights of a GRU": (
        "x[4,1,3], r[1,6,2] -> y { y = GRU(x, w[1,6,3], r, hidden_size=2) }",
        "y (GRU): a layer whose weights are computed is not compiled; export them as constants",
    ),
    "ranked in double": (
        "x[1,6] -> y:f64 { d = Cast(x, to=11); v, i = TopK(d, {2}); y = Mul(v, 2.0:f64) }",
        "v (TopK): what it ranks is not float32",
    ),
    "ranked by a computed number": (
        "x[1,6] -> y { m = ReduceMax(x, keepdims=0); c = Cast(m, to=7); k = Reshape(c, {1}); v, i = TopK(x, k); y = ReduceSum(v) }",
        "v (TopK): k is computed when it runs",
    ),
    "ranked in an unknown type": (
        "x[1,6] -> y, i:i64 { g = com.microsoft::SkipLayerNormalization(x, x, s[6], b[6], c[6]); y, i = TopK(g, {2}) }",
        "y (TopK): what it ranks is of no known type",
    ),
    "resized in an unknown shape": (
        "x[1,2,3,5] -> y { g = com.microsoft::SkipLayerNormalization(x, x, s[5], b[5], c[5]);"
        ' y = Resize(g, _, {1.0,1.0,2.0,2.0}, mode="linear") }',
        "y (Resize): the shape of 'g' is not known",
    ),
    "text": ("x[3]:str -> y:str { y = Identity(x) }", "'x' holds text"),
    "which of two is not known": (
        "x[1,3] -> y { a = LpNormalization(x); y = LpNormalization(a) }",
        "one of 2 LpNormalization",
    ),
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
    "no elements": ("x[0,4] -> y { y = Relu(x) }", "input 'x' has no elements; give --input-shape x:1,"),
    "half precision": ("x[1,4]:f16 -> y:f16 { y = Relu(x) }", "y (Relu): tensors of float16 are not compiled"),
    "doubles in between": (
        "x[1,4] -> y { r = Relu(x); d = Cast(r, to=11); m = MatMul(d, w[4,3]:f64); y = Cast(m, to=1) }",
        "d (Cast): tensors of float64 are not compiled; give the network in float32",
    ),
    "another shape": (
        "x[1,3,4,4], w[3,2,3,3] -> y { y = ConvTranspose(x, w, strides=[2,2], output_shape=[9,8]) }",
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


def test_shapes_are_what_tvm_says_where_they_are_not_known() -> None:
    graph = network(
        "x[1,4] -> y { g = com.microsoft::SkipLayerNormalization(x, x, s[4], b[4], c[4]); y = Relu(g) }", "cortex-m4"
    )
    assert len(lowered(graph, CPUS["cortex-m4"]).calls) == 2


@pytest.mark.parametrize("refused", [ScheduleError, ValueError])
def test_what_tiles_do_not_serve_is_computed_by_the_default_schedule(
    refused: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    (call,) = with_a_fault(refused, monkeypatch)
    assert call.schedule == "default"


def test_faults_of_tvm_are_not_taken_for_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PruneirError, match="conv2d: TVM has no C for it: broken"):
        with_a_fault(RuntimeError, monkeypatch)


def with_a_fault(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """A convolution, lowered with an error of this kind where its tiles are made."""

    def broken(*given: object) -> None:
        raise kind("broken")

    monkeypatch.setattr(reducing, "tiled", broken)
    return list(lowered(network("x[1,3,6,6] -> y { y = Conv(x, w[4,3,3,3]) }", "cortex-m4"), CPUS["cortex-m4"]).calls)


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


@pytest.mark.parametrize(
    ("text", "layers"),
    {
        "padded rows slide, images are padded as a whole": (
            NETWORKS["in the place of the input"],
            {"b", "d", "e", "f"},
        ),
        "another shape": (
            "x[1,4,9,9] -> y { r = Relu(x); a = Conv(r, w[5,4,3,3], pads=[1,1,1,1]); y = Exp(a) }",
            set(),
        ),
        "nothing padded": ("x[1,4,9,9] -> y { r = Relu(x); a = Conv(r, w[4,4,1,1]); y = Exp(a) }", set()),
    }.values(),
)
def test_padded_convolutions_compute_in_the_place_of_their_input(text: str, layers: set[str]) -> None:
    calls = [call for call in lowered(network(text, "cortex-m4"), CPUS["cortex-m4"]).calls if call.macs]
    found = {call.layer for call in calls if call.inplace and call.inplace[0][1] == call.arguments[0]}
    assert found == layers


@pytest.mark.parametrize(
    ("text", "in_c"),
    {
        "a sum": ("x[1,4,5,6], z[1,4,5,6] -> y { y = Add(x, z) }", False),
        "of each channel": ("x[1,4,5,6], z[1,4,1,1] -> y { y = Mul(x, z) }", False),
        "activations": ("x[1,4,5,6] -> y { y = HardSwish(x) }", False),
        "means": ("x[1,4,5,6] -> y { y = GlobalAveragePool(x) }", False),
        "a convolution, its bias and activation": (
            "x[1,4,5,6] -> y { a = Conv(x, w[8,4,3,3], b[8]); y = Relu(a) }",
            False,
        ),
        "no instruction": ("x[1,4,5,6] -> y { y = Exp(x) }", True),
        "neighbours in each other's place": ("x[1,4,5,6] -> y { y = Transpose(x, perm=[0,1,3,2]) }", True),
        "too few": ("x[1,4] -> y { y = Relu(x) }", True),
    }.values(),
)
def test_loops_are_micro_kernels(text: str, in_c: bool) -> None:
    for cpu in ("cortex-m4", "cortex-m55"):
        sources = lowered(network(text, cpu), CPUS[cpu]).sources
        assert ("for (" in sources["kernels.c"], "tiles.S" in sources) == (in_c, not in_c)


def test_a_number_is_written_into_its_own_kernel_alone() -> None:
    kernel = "void k_{0}(float* p_param_0, float* p_y) {{\n  if (1) {{\n    p_y[0] = p_param_0[0];\n  }}\n}}\n"
    text = "void k_a(float* p_param_0, float* p_y);\nvoid k_b(float* p_param_0, float* p_y);\n"
    text += kernel.format("a") + kernel.format("b")
    written = bare.bound(bare.bound(text, "k_b", {"p_param_0": 2.0}), "k_a", {"p_param_0": 1.0})
    assert re.findall(r"p_y\[0\] = \((.*)f\);", written) == [(1.0).hex(), (2.0).hex()]


def test_transposed_convolutions_are_tiled() -> None:
    text = "x[1,8,6,6] -> y { y = ConvTranspose(x, w[8,4,4,4], b[4], strides=[2,2], pads=[1,1,1,1]) }"
    (call, _) = lowered(network(text, "cortex-m4"), CPUS["cortex-m4"]).calls
    assert call.layer == "y"
    assert call.schedule.startswith("tile")
    assert call.macs == 7 * 7 * 16 * 8 * 4, "of one more row and column, half of which is cut off"


def test_products_count_whatever_computes_them() -> None:
    text = "x[1,6,4,5], z[1,5,3] -> y, m { y = Conv(x, w[9,2,3,3], group=3, pads=[1,1,1,1]); m = MatMul(c[1,4,5], z) }"
    calls = lowered(network(text, "cortex-m4"), CPUS["cortex-m4"]).calls
    assert {call.schedule for call in calls if call.macs} >= {"default"}
    assert sum(call.macs for call in calls) == 9 * 4 * 5 * 2 * 9 + 4 * 5 * 3


def test_steps_of_a_recurrent_layer_share_kernels() -> None:
    text = "x[9,1,5] -> h { y, h = LSTM(x, w[1,16,5], r[1,16,4], b[1,32], hidden_size=4) }"
    program = lowered(network(text, "cortex-m4"), CPUS["cortex-m4"])
    assert len(program.calls) > 9 * 4
    assert len(program.kernels) < 16
