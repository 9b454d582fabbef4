"""Predicted times: what they grow with, what they need, and how they compare with measured ones."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.backends.x86.backend import X86
from pruneir.backends.x86.cpu import GHZ
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.targets import TARGETS
from support import needs
from support.classics import mobilenet_v2, resnet18
from support.properties import feeds


def ms(network: Graph | str, target: str = "x86-avx2") -> float:
    graph = parse(network) if isinstance(network, str) else network
    return X86().predict_ms(graph, TARGETS[target])


CONV = "x[1,64,28,28] -> y { a = Conv(x, w[64,64,3,3], pads=[1,1,1,1]); y = Relu(a) }"
LONGER = {
    "more filters": (CONV, CONV.replace("w[64", "w[128")),
    "more points": (CONV, CONV.replace("28,28", "56,56")),
    "more samples": (CONV, CONV.replace("x[1", "x[4")),
    "narrower vectors": (CONV, CONV),
    "a slow function": (CONV, CONV.replace("Relu", "Tanh")),
    "no Winograd at stride 2": (
        "x[1,64,28,28] -> y { y = Conv(x, w[64,64,3,3], pads=[1,1,1,1]) }",
        "x[1,64,56,56] -> y { y = Conv(x, w[64,64,3,3], pads=[1,1,1,1], strides=[2,2]) }",
    ),
    "depthwise, more taps": (
        "x[1,64,56,56] -> y { y = Conv(x, w[64,1,3,3], group=64, pads=[1,1,1,1]) }",
        "x[1,64,56,56] -> y { y = Conv(x, w[64,1,5,5], group=64, pads=[2,2,2,2]) }",
    ),
    "weights that come from memory": (
        "x[64,512] -> y { y = Gemm(x, w[512,512]) }",
        "x[8,4096] -> y { y = Gemm(x, w[4096,512]) }",
    ),
    "larger windows": (
        "x[1,64,56,56] -> y { a = MaxPool(x, kernel_shape=[2,2]); y = Relu(a) }",
        "x[1,64,56,56] -> y { a = MaxPool(x, kernel_shape=[13,13], pads=[6,6,6,6]); y = Relu(a) }",
    ),
    "an operand more": (
        "x[1,8,64,64] -> y { a = Relu(x); y = MaxPool(a, kernel_shape=[2,2]) }",
        "x[1,8,64,64], z[1,8,64,64] -> y { a = Add(x, z); y = MaxPool(a, kernel_shape=[2,2]) }",
    ),
    "a copy": (
        "x[1,8,64,64] -> y { a = Conv(x, w[8,8,1,1]); y = Conv(a, v[8,8,1,1]) }",
        "x[1,8,64,64] -> y { a = Conv(x, w[4,8,1,1]); b = Concat(a, a, axis=1); y = Conv(b, v[8,8,1,1]) }",
    ),
    "another order": (
        "x[1,64,64,64] -> y { a = Conv(x, w[64,64,1,1]); b = Relu(a); y = MaxPool(b, kernel_shape=[2,2]) }",
        "x[1,64,64,64] -> y, b { a = Conv(x, w[64,64,1,1]); b = Relu(a); y = MaxPool(b, kernel_shape=[2,2]) }",
    ),
    "more of what TVM compiles": (
        "x[1,32,14,14] -> y { y = Conv(x, w[32,8,3,3], pads=[1,1,1,1], group=4) }",
        "x[1,32,14,14] -> y { y = Conv(x, w[32,16,3,3], pads=[1,1,1,1], group=2) }",
    ),
}


@pytest.mark.parametrize(("short", "long"), LONGER.values(), ids=LONGER)
def test_what_takes_longer(short: str, long: str) -> None:
    faster = "x86-avx512" if short == long else "x86-avx2"
    assert 1.05 * ms(short, faster) < ms(long)


@pytest.mark.parametrize("target", ["x86-avx2", "x86-avx512"])
@pytest.mark.parametrize("text", [CONV, "x[1,512] -> y { y = Gemm(x, w[512,64]) }", CONV.replace("64,3,3", "64,1,1")])
def test_nothing_is_faster_than_the_processor(text: str, target: str) -> None:
    """Two multiply-adds a cycle, of which Winograd's method saves at most three quarters."""
    text = text if "1,1]" not in text else text.replace("pads=[1,1,1,1]", "pads=[0,0,0,0]")
    graph = parse(text)
    macs = pruneir.optimize(graph, verify=False).outcome.before.macs
    fewest = macs / 4 if "3,3" in text else macs
    assert ms(graph, target) > fewest / (2 * TARGETS[target].simd_width * GHZ * 1e6)


def test_a_symbolic_batch_counts_as_one() -> None:
    assert ms(CONV.replace("x[1", "x[N")) == ms(CONV)
    assert ms(CONV, "x86") == ms(CONV, "x86-avx2")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CONV.replace("28,28", "28,W"), r"input 'x': axis 3 is symbolic \(W\).*--input-shape"),
        ("x[4,4] -> y { y = NonZero(x) }", "the shape of 'y' depends on the data"),
    ],
)
def test_what_is_not_predicted(text: str, told: str) -> None:
    with pytest.raises(PruneirError, match=told):
        ms(text)


def test_it_takes_neither_tvm_nor_a_compiler_nor_a_copy_of_weights() -> None:
    """What TVM compiles is among it; the weights are one number, seen 8 · 10⁸ times, which has no room."""
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
sys.modules["tvm"] = None
import numpy as np
from pruneir.backends.x86.backend import X86
from pruneir.graph import parse
from pruneir.targets import TARGETS
graph = parse("x[1,8,100,100] -> y { a = CumSum(x, k[]); b = Flatten(a); y = Gemm(b, v[80000,1]) }")
graph.set_initializer("k", np.array(2))
graph.set_initializer("v", np.broadcast_to(np.float32(1), (80_000, 10**4)))
assert X86().predict_ms(graph, TARGETS["x86-avx2"]) > 10
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": ""})


@pytest.mark.parametrize("network", [resnet18, mobilenet_v2])
def test_half_the_channels_take_much_less(network: type[Graph]) -> None:
    made = pruneir.optimize(network(), ["filter{ratio=0.5}"], target="x86-avx2", verify=False)
    found = made.report["predicted_ms"]
    saved = made.outcome.before.macs / made.outcome.after.macs
    assert 0.6 * saved < found["before"] / found["after"] < 1.1 * saved


@pytest.mark.slow
@needs.cc
@needs.avx2
def test_ratios_are_near_measured_ones(tmp_path: Path) -> None:
    texts = [
        f"x[1,16,56,56] -> y {{ a = Conv(x, w[{c},16,3,3], pads=[1,1,1,1]); b = Relu(a); "
        f"d = Conv(b, v[{c},{c},1,1]); e = HardSwish(d); f = Conv(e, u[32,{c},3,3], strides=[2,2]); "
        f"y = MaxPool(f, kernel_shape=[2,2]) }}"
        for c in (256, 64)
    ]
    taken = []
    for place, graph in enumerate(map(parse, texts)):
        artifact = pruneir.compile(graph, "x86-avx2", tmp_path / str(place), options={"threads": 1}).artifact
        x = feeds(graph, 1)
        taken.append(min(_seconds(artifact, x) for _ in range(30)))
    measured, predicted = taken[0] / taken[1], ms(texts[0]) / ms(texts[1])
    assert predicted == pytest.approx(measured, rel=0.5)


def _seconds(artifact: pruneir.artifact.Artifact, x: dict[str, np.ndarray]) -> float:
    """Of this thread: a loaded machine makes it wait, which does not count."""
    start = time.thread_time()
    artifact(x)
    return time.thread_time() - start
