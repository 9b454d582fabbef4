"""Networks with zeros: the format of each layer, and what the library computes against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.backends.x86 import convolutions
from pruneir.backends.x86.cpu import AVX2, AVX512, X86Cpu
from pruneir.backends.x86.lower import lowered
from pruneir.backends.x86.predict import milliseconds
from pruneir.deployment.against import on_threads
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds
from support import needs
from support.bundles import bundled
from support.quick import first_quick
from support.zeros import thinned

GAP = 64
"""Bytes between indices and values of a kernel at most."""

MLP = (
    "a = Gemm(x, w1[256,120], b1[120]); r = Relu(a); c = Gemm(r, w2[90,120], b2[90], transB=1, alpha=0.5); s = Tanh(c);"
    " y = MatMul(s, w3[90,11])"
)
CONVS = """
    a = Conv(x, w1[40,12,3,3], b1[40], pads=[1,1,1,1]); r = Relu(a)
    c = Conv(r, w2[40,40,3,3], pads=[1,1,1,1]); s = Add(c, r); t = HardSwish(s)
    d = Conv(t, w3[72,40,5,5], b3[72], strides=[2,2], pads=[2,2,2,2]); u = Relu(d)
    e = Conv(u, w4[64,36,3,3], group=2, pads=[2,2,2,2], dilations=[2,2])
    f = ConvTranspose(e, w5[64,24,4,4], strides=[2,2], pads=[1,1,1,1])
    g = Conv(f, w6[40,24,1,1]); v = Add(g, s); y = Flatten(v)
"""
NETWORKS = {
    "dense layers": f"x[1,256] -> y {{ {MLP} }}",
    "dense layers, 37 rows": f"x[37,256] -> y {{ {MLP} }}",
    "dense layers, any batch": f"x[N,256] -> y {{ {MLP} }}",
    "convolutions": f"x[2,12,14,18] -> y {{ {CONVS} }}",
    "1-D": "x[1,16,200] -> y { a = Conv(x, w1[48,16,9], strides=[2], pads=[4,4]); y = Conv(a, w2[24,48,3]) }",
    "sequence": "x[1,30,64] -> y { a = MatMul(x, w1[64,160]); b = Relu(a); c = MatMul(b, w2[160,64]); y = Add(c, x) }",
}


def schedules(graph: Graph) -> list[str]:
    return [call.schedule for call in lowered(graph, AVX2).calls if call.macs]


@needs.avx2
@needs.cc
@pytest.mark.tvm
@pytest.mark.parametrize("width", first_quick([8, 1, 16]))
def test_a_sparse_network_computes_what_onnx_runtime_does(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = Compiler.of("x86-avx2")
    texts = {name: text.replace("[N,", "[5,") for name, text in NETWORKS.items()}
    graph = bundled({name: compiler.prepared(thinned(parse(text), 0.05, width)) for name, text in texts.items()})
    feeds = random_feeds(graph, batch=1, seed=1)
    monkeypatch.setenv("OPT", "-O0")
    artifact = compiler.compile(graph, tmp_path / "x86", fold=False).artifact
    sparse = [layer["schedule"] for layer in artifact.manifest.details["layers"] if layer["macs"]]
    assert all(each.startswith("CSR") for each in sparse), sparse
    one, two = (on_threads(artifact, threads).run(feeds) for threads in (1, 2))
    for name, wanted in next(evaluate(graph, graph.outputs, [feeds])).items():
        assert np.abs(one[name] - wanted).max() <= 1e-4 * np.abs(wanted).max(), name
        assert np.array_equal(one[name], two[name]), name


@needs.avx2
@needs.cc
def test_samples_of_a_symbolic_batch_run_sparse(tmp_path: Path) -> None:
    graph = thinned(parse(NETWORKS["dense layers, any batch"]), 0.05, 8)
    artifact = pruneir.compile(graph, "x86-avx2", tmp_path / "x86", options={"threads": 1}).artifact
    assert "CSR in 8s" in artifact.manifest.details["layers"][0]["schedule"]
    x = np.random.default_rng(0).standard_normal((3, 256), np.float32)
    (wanted,) = next(evaluate(graph, graph.outputs, [{"x": x}])).values()
    assert np.abs(artifact.run({"x": x})["y"] - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("text", [t for name, t in NETWORKS.items() if "any" not in name])
def test_without_zeros_the_code_is_as_it_was(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = parse(text)
    now = lowered(graph, AVX2)
    monkeypatch.setattr(convolutions, "sparse", lambda *given: None)
    before = lowered(graph, AVX2)
    assert now.sources == before.sources
    assert now.calls == before.calls
    assert [c.values.tobytes() for c in now.constants] == [c.values.tobytes() for c in before.constants]


@pytest.mark.parametrize(
    ("density", "width", "wanted"),
    [
        (0.05, 8, "CSR in 8s, "),
        (0.05, 16, "CSR in 16s, "),
        (0.03, 1, "CSR, "),
        (0.9, 8, "direct "),
        (0.6, 1, "direct "),
    ],
)
def test_each_layer_has_the_fastest_format(density: float, width: int, wanted: str) -> None:
    text = "x[64,512] -> y { a = MatMul(x, w1[512,640]); b = Relu(a); y = MatMul(b, w2[640,512]) }"
    found = schedules(thinned(parse(text), density, width))
    assert all(schedule.startswith(wanted) for schedule in found), found


TRANSPOSED = {
    "a line for all phases": ("x[1,16,9,9] -> y { y = ConvTranspose(x, w[16,24,4,4], strides=[2,2]) }", 0.05, ["CSR"]),
    "a line a format": (
        "x[1,16,9,9] -> y { y = ConvTranspose(x, w[16,24,3,3], strides=[2,2]) }", 0.2, ["CSR", "dense"]
    ),
    "without zeros": ("x[1,16,9,9] -> y { y = ConvTranspose(x, w[16,24,4,4], strides=[2,2]) }", 1.0, []),
    "phases without a tap": ("x[1,16,9,9] -> y { y = ConvTranspose(x, w[16,24,1,1], strides=[2,2]) }", 1.0, []),
}  # fmt: skip


@pytest.mark.parametrize(("text", "kept", "wanted"), TRANSPOSED.values(), ids=TRANSPOSED)
def test_a_transposed_layer_says_what_the_weights_of_all_phases_take(text: str, kept: float, wanted: list[str]) -> None:
    graph = thinned(parse(text), kept)
    program = lowered(graph, AVX2)
    found = program.storages()
    assert [str(each.format) for each in found] == wanted
    (array,) = graph.initializers.values()
    packed = sum(constant.nbytes for constant in program.constants)
    if found:
        assert sum(each.weights for each in found) == array.size
        assert sum(each.nonzero for each in found) == np.count_nonzero(array)
        assert 0 <= packed - sum(each.format.nbytes for each in found) < 4 * GAP


@pytest.mark.parametrize("machine", [AVX2, AVX512], ids=["avx2", "avx512"])
def test_predicted_time_falls_with_the_weights(machine: X86Cpu) -> None:
    graph = parse("x[1,64,28,28] -> y { a = Conv(x, w1[64,64,3,3], pads=[1,1,1,1]); y = Conv(a, w2[128,64,1,1]) }")
    times = [milliseconds(thinned(graph, density, 16), machine) for density in (1.0, 0.2, 0.1, 0.05)]
    assert times == sorted(times, reverse=True)
    assert times[0] > 2 * times[-1]
