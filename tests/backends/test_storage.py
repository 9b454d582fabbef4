"""What compiled networks say of the weights of layers with zeros, against the constants that they have."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from pruneir.backends.cortex_m import lower as cortex_m
from pruneir.backends.cortex_m import sparse
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.lowering.program import Program
from pruneir.backends.x86 import lower as x86
from pruneir.backends.x86 import sparse as x86_sparse
from pruneir.backends.x86.cpu import AVX2, AVX512
from pruneir.graph import Graph, parse
from pruneir.storage import Storage
from support.zeros import thinned

pytestmark = pytest.mark.tvm

Lower = Callable[[Graph], Program]
MACHINES: dict[str, Lower] = {
    **{name: partial(cortex_m.lowered, cpu=CPUS[name]) for name in ("cortex-m4", "cortex-m55")},
    **{cpu.name: partial(x86.lowered, cpu=cpu) for cpu in (AVX2, AVX512)},
}
GAP = 64
"""Bytes between indices and values at most."""

NETWORK = """x[1,8,12,12] -> y {
    a = Conv(x, w1[32,8,3,3], b1[32], pads=[1,1,1,1]); r = Relu(a); c = Conv(r, w2[16,32,1,1], b2[16]); s = Relu(c)
    d = Conv(s, w3[32,16,3,3], b3[32], pads=[1,1,1,1]); t = Relu(d); e = Conv(t, w4[16,32,1,1], b4[16]); u = Relu(e)
    f = Flatten(u); y = Gemm(f, w5[2304,24], b5[24])
}"""
KEPT = {"w1": 1.0, "w2": 0.1, "w3": 0.6, "w4": 0.3, "w5": 0.05}
"""Share of the groups of 8 outputs that are not zero; w2 and w4 are alike, so one function may serve both."""
LAYERS = {"c": "w2", "d": "w3", "e": "w4", "y": "w5"}
"""Layers with zeros, in order."""


def of_layers(program: Program) -> dict[str, Storage]:
    found = program.storages()
    assert [each.layer for each in found] == list(LAYERS)
    return dict(zip(LAYERS, found, strict=True))


def constant_of(program: Program, layer: str) -> int:
    """Bytes of the largest constant that a layer reads."""
    (call,) = (each for each in program.calls if each.layer == layer and each.macs)
    return max(each.nbytes for each in program.constants if each.name in call.arguments)


@pytest.mark.parametrize("lower", MACHINES.values(), ids=MACHINES)
def test_each_layer_with_zeros_says_what_its_weights_take(lower: Lower) -> None:
    graph = thinned(parse(NETWORK), 1.0, 8, of=KEPT)
    program = lower(graph)
    for layer, found in of_layers(program).items():
        array = graph.constant(LAYERS[layer])
        (call,) = (each for each in program.calls if each.layer == layer and each.macs)
        assert array is not None
        assert (found.weights, found.nonzero) == (array.size, int(np.count_nonzero(array)))
        assert 0 <= constant_of(program, layer) - found.format.nbytes < GAP
        assert str(found.format) in (call.schedule.partition(",")[0], "dense")
        assert ("SR" in call.schedule) == (str(found.format) != "dense")
    assert str(of_layers(program)["y"].format) in ("CSR in 8s", "CSR in 16s", "CSR in 4s")


@pytest.mark.parametrize("lower", MACHINES.values(), ids=MACHINES)
def test_dense_is_what_the_layer_would_have_with_its_zeros(lower: Lower, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = thinned(parse(NETWORK), 1.0, 8, of=KEPT)
    known = of_layers(lower(graph))
    monkeypatch.setattr(sparse, "best", lambda *given: None)
    monkeypatch.setattr(x86_sparse, "_GAIN", 0.0)
    program = lower(graph)
    for layer, found in of_layers(program).items():
        assert found.taken == 0
        assert found.formats == known[layer].formats
        assert found.format.nbytes == constant_of(program, layer)


@pytest.mark.parametrize("lower", MACHINES.values(), ids=MACHINES)
def test_formats_that_read_less_cost_less(lower: Lower) -> None:
    for found in of_layers(lower(thinned(parse(NETWORK), 1.0, 8, of=KEPT))).values():
        names = [str(each).split(" ")[0] for each in found.formats]
        assert names[:2] == ["dense", "CSR"]
        assert names[2:] in (["CSR"], ["CSR", "BSR"])
        fewer = [each for each in found.formats if each.nbytes < found.formats[0].nbytes]
        assert found.format in (found.formats[0], min(fewer, key=lambda each: each.cost))


@pytest.mark.parametrize("lower", MACHINES.values(), ids=MACHINES)
def test_without_zeros_nothing_is_said(lower: Lower) -> None:
    assert lower(parse(NETWORK)).storages() == ()


def test_a_processor_without_a_kernel_says_nothing() -> None:
    assert cortex_m.lowered(thinned(parse(NETWORK), 1.0, 8, of=KEPT), cpu=CPUS["cortex-m0plus"]).storages() == ()


SHARED = "x[1,32,12,12] -> y { a = Conv(x, w[32,32,1,1]); r = Relu(a); b = Conv(r, w); y = Relu(b) }"


@pytest.mark.parametrize("lower", MACHINES.values(), ids=MACHINES)
def test_weights_of_two_layers_count_once(lower: Lower) -> None:
    program = lower(thinned(parse(SHARED), 0.1, 8))
    (found,) = program.storages()
    assert found.layer == "a, b"
    assert 0 <= max(each.nbytes for each in program.constants) - found.format.nbytes < GAP
    stored = [call.storage for call in program.calls if call.storage]
    assert len(stored) == 2
    for place, each in enumerate(found.formats):
        assert each.cost == sum(one.formats[place].cost for one in stored)


OPERANDS = """x[1,16,8,8] -> y {
    a = Conv(x, w1[16,16,3,3], pads=[1,1,1,1]); r = Add(a, c[1,16,8,8])
    b = Conv(r, w2[16,16,3,3], pads=[1,1,1,1]); y = Add(b, c)
}"""


@pytest.mark.parametrize("lower", MACHINES.values(), ids=MACHINES)
def test_layers_with_a_large_constant_in_common_are_two(lower: Lower) -> None:
    program = lower(thinned(parse(OPERANDS), 0.1, of={"w2": 0.05}))
    found = program.storages()
    constants = {each.name: each.nbytes for each in program.constants}
    assert [each.layer for each in found] == ["a", "b"]
    assert found[0].format.nbytes > found[1].format.nbytes
    for each, call in zip(found, (call for call in program.calls if call.storage), strict=True):
        assert 0 <= constants[call.weights] - each.format.nbytes < GAP
