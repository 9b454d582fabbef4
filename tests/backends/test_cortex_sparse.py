"""Networks with zero weights on Cortex-M: the same outputs, in fewer instructions and bytes; none where that is less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import pruneir
from pruneir.artifact import Artifact, Profile
from pruneir.backends.cortex_m import backend, lower, sparse
from pruneir.backends.cortex_m.assembly.nest import Nest
from pruneir.backends.cortex_m.backend import CortexM
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.cortex_m.lower import lowered
from pruneir.backends.lowering.last import Last
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.targets import TARGETS
from pruneir.verify.feeds import random_feeds
from support.bundles import bundled
from support.quick import first_quick
from support.zeros import thinned

pytestmark = [pytest.mark.qemu, pytest.mark.tvm]

TOLERANCE = 1e-4
"""Largest error, as a share of the largest output."""
MODELS = Path(__file__).parents[2] / "models"
CPU_WIDTHS = {"cortex-m4": 8, "cortex-m7": 1, "cortex-m33": 2, "cortex-m55": 4}
"""Filters of the groups that are zeroed."""

CASES = {
    "dense layer": "x[1,90] -> y { a = Gemm(x, w[90,44], b[44]); y = Relu(a) }",
    "dense layer, transposed": "x[1,64] -> y { y = Gemm(x, w[21,64], b[21], transB=1) }",
    "dense layer of rows": "x[6,80] -> y { a = Gemm(x, w[80,24], b[24]); y = Relu(a) }",
    "MatMul": "x[1,5,48] -> y { y = MatMul(x, w[48,20]) }",
    "clipped": "x[1,64] -> y { a = Gemm(x, w[64,24], b[24]); y = Clip(a, {0.0}, {6.0}) }",
    "1×1": "x[1,40,6,8] -> y { y = Conv(x, w[24,40,1,1], b[24]) }",
    "1×1, strided": "x[1,32,9,9] -> y { y = Conv(x, w[18,32,1,1], strides=[2,2]) }",
    "3×3": "x[1,9,9,12] -> y { a = Conv(x, w[13,9,3,3], b[13], pads=[1,1,1,1]); y = Relu(a) }",
    "3×3, strided": "x[1,8,13,9] -> y { y = Conv(x, w[12,8,3,3], b[12], strides=[2,2], pads=[1,1,1,1]) }",
    "5×5, dilated": "x[1,4,13,13] -> y { y = Conv(x, w[9,4,5,5], dilations=[2,2], pads=[2,2,2,2]) }",
    "an odd image": "x[1,6,7,13] -> y { y = Conv(x, w[10,6,3,3], pads=[1,1,1,1]) }",
    "1-D": "x[1,6,30] -> y { y = Conv(x, w[10,6,5], b[10], pads=[2,2]) }",
    "1-D, wide and strided": "x[1,2,256] -> y { y = Conv(x, w[12,2,32], b[12], strides=[16], pads=[8,8]) }",
    "two batches": "x[2,6,8,8] -> y { y = Conv(x, w[12,6,3,3], b[12], pads=[1,1,1,1]) }",
    "residual": (
        "x[1,5,8,8] -> y { a = Conv(x, w1[16,5,3,3], b1[16], pads=[1,1,1,1]); r = Relu(a);"
        " b = Conv(r, w2[16,16,3,3], b2[16], pads=[1,1,1,1]); s = Add(b, r); y = Relu(s) }"
    ),
    "layers alike": (
        "x[1,16,6,6] -> y { a = Conv(x, w1[16,16,3,3], b1[16], pads=[1,1,1,1]); r = Relu(a);"
        " b = Conv(r, w2[16,16,3,3], b2[16], pads=[1,1,1,1]); s = Relu(b);"
        " c = Conv(s, full[16,16,3,3], b3[16], pads=[1,1,1,1]); y = Relu(c) }"
    ),
    "weights that two layers share": (
        "x[1,6,8,8] -> y { a = Conv(x, w[6,6,3,3], pads=[1,1,1,1]); r = Relu(a);"
        " b = Conv(r, w, pads=[1,1,1,1]); y = Relu(b) }"
    ),
    "grouped": "x[1,8,7,9] -> y { y = Conv(x, w[12,4,3,3], b[12], group=2, pads=[1,1,1,1]) }",
    "depthwise": "x[1,5,9,13] -> y { a = Conv(x, w[5,1,3,3], b[5], group=5, pads=[1,1,1,1]); y = Relu(a) }",
    "nothing left of a layer": "x[1,40] -> y { a = Gemm(x, zero[40,20], b[20]); y = Relu(a) }",
}
ALL_OR_NONE = {"zero": 0.0, "full": 1.0}
"""Shares of the weights with these names that are kept."""
DENSE = ("grouped", "depthwise")
"""What no stream serves."""


def compiled(graph: Graph, cpu: str, folder: str) -> Artifact:
    place = Path(folder)
    place.mkdir(exist_ok=True)
    found: Artifact = CortexM().compile(graph, TARGETS[cpu], place, progress=lambda text, share: None)
    return found


@cache
def computed(cpu: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Profile]:
    """What one firmware of all cases computes, what ONNX Runtime does, and a profile."""
    compiler, width = Compiler.of(cpu), CPU_WIDTHS[cpu]
    networks = {
        case: compiler.prepared(thinned(parse(text), 0.2, width, of=ALL_OR_NONE)) for case, text in CASES.items()
    }
    graph = bundled(networks)
    feeds = random_feeds(graph, batch=1, seed=1)
    with TemporaryDirectory(prefix="pruneir-") as folder:
        artifact = compiled(graph, cpu, folder)
        outputs, profile = artifact.run(feeds), artifact.profile(feeds)
    return dict(outputs), dict(next(evaluate(graph, graph.outputs, [feeds]))), profile


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cpu", first_quick(CPU_WIDTHS))
def test_the_firmware_computes_what_onnx_runtime_does(cpu: str, case: str) -> None:
    outputs, wanted, _ = computed(cpu)
    found, known = outputs[f"{case}/y"], wanted[f"{case}/y"]
    assert np.abs(known).max() > 0
    assert np.abs(found - known).max() / np.abs(known).max() < TOLERANCE


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cpu", first_quick(CPU_WIDTHS))
def test_the_table_says_how_each_layer_is_stored(cpu: str, case: str) -> None:
    layers = [layer for layer in computed(cpu)[2].layers if layer.name.startswith(f"{case}/") and layer.macs]
    streams = [layer.schedule for layer in layers if "SR" in layer.schedule]
    assert len(streams) == (0 if case in DENSE else 2 if case in ("residual", "layers alike") else len(layers))


@contextmanager
def dense() -> Iterator[None]:
    """Zeros are computed like other numbers meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "best", lambda *given: None)
        patch.setattr(backend, "_LAST", Last())
        yield


@pytest.mark.parametrize("cpu", first_quick(["cortex-m4", "cortex-m55"]))
def test_no_layer_takes_more_than_with_its_zeros(cpu: str) -> None:
    cases = [(case, zeros) for case in ("dense layer", "1×1", "3×3") for zeros in (0.1, 0.4, 0.7)]
    graph = bundled(
        {f"{case}, {zeros}": thinned(parse(CASES[case]), 1 - zeros, of=ALL_OR_NONE) for case, zeros in cases}
    )
    graph = Compiler.of(cpu).prepared(graph)
    feeds = random_feeds(graph, batch=1)
    with TemporaryDirectory(prefix="pruneir-") as folder:
        streamed = counted(compiled(graph, cpu, f"{folder}/a").profile(feeds))
        with dense():
            whole = counted(compiled(graph, cpu, f"{folder}/b").profile(feeds))
    assert len(whole) == len(cases)
    assert all(streamed[name] <= count + 4 for name, count in whole.items())
    empty = [name for name in whole if "0.7" in name]
    assert sum(whole[name] for name in empty) > 1.6 * sum(streamed[name] for name in empty)


def counted(profile: Profile) -> dict[str, int]:
    """Instructions of layers, by name."""
    return {layer.name: layer.instructions or 0 for layer in profile.layers if layer.macs}


def program(graph: Graph, cpu: str) -> tuple[dict[str, str], list[bytes], list[str]]:
    """Sources, constants and schedules."""
    made = lowered(graph, CPUS[cpu])
    constants = [constant.values.tobytes() for constant in made.constants]
    return dict(made.sources), constants, [call.schedule for call in made.calls]


@pytest.mark.parametrize("cpu", ["cortex-m0plus", *CPU_WIDTHS])
@pytest.mark.parametrize("zeros", [0.0, 0.03])
def test_where_nothing_is_left_out_nothing_changes(cpu: str, zeros: float) -> None:
    cases = ("dense layer", "3×3", "layers alike", "residual")
    graph = Compiler.of(cpu).prepared(
        bundled({case: thinned(parse(CASES[case]), 1 - zeros, of=ALL_OR_NONE) for case in cases})
    )
    with dense():
        wanted = program(graph, cpu)
    assert program(graph, cpu) == wanted
    assert not any("SR" in schedule for schedule in wanted[2])


ALIKE = """x[1,16,6,6] -> y {
    a = Conv(x, w1[16,16,3,3], b1[16], pads=[1,1,1,1]); r = Relu(a)
    b = Conv(r, w2[16,16,3,3], b2[16], pads=[1,1,1,1]); s = Relu(b)
    c = Conv(s, WEIGHTS, b3[16], pads=[1,1,1,1]); y = Relu(c)
}"""


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
def test_zeros_that_are_no_weights_change_nothing(cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = parse(ALIKE.replace("WEIGHTS", "w3[16,16,3,3]"))
    for name in ("b2", "b3"):
        graph.set_initializer(name, np.zeros_like(graph.initializers[name]))
    graph = Compiler.of(cpu).prepared(graph)
    found = program(graph, cpu)
    monkeypatch.setattr(lower, "apart", lambda module, special: module)
    assert found == program(graph, cpu)


@pytest.mark.parametrize(("weights", "count"), [("w3[16,16,3,3]", 3), ("w2", 2), ("w1", 2)])
def test_layers_with_the_same_weights_are_one_function(weights: str, count: int) -> None:
    graph = Compiler.of("cortex-m4").prepared(thinned(parse(ALIKE.replace("WEIGHTS", weights)), 0.2))
    calls = [call for call in lowered(graph, CPUS["cortex-m4"]).calls if call.macs]
    assert len(calls) == 3
    assert len({call.kernel for call in calls}) == count


def test_where_several_points_are_refused_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def ways(nest: Nest, *given: Any) -> list[sparse.Choice]:
        if nest.points > 1:
            raise ValueError
        return of_one(nest, *given)

    of_one = sparse.ways
    monkeypatch.setattr(sparse, "ways", ways)
    graph = Compiler.of("cortex-m4").prepared(thinned(parse(CASES["1×1"]), 0.1, 8))
    assert [schedule for schedule in program(graph, "cortex-m4")[2] if "CSR" in schedule]


def test_a_processor_without_an_fpu_keeps_its_zeros() -> None:
    graph = Compiler.of("cortex-m0plus").prepared(thinned(parse(CASES["dense layer"]), 0.1, 8))
    assert {*program(graph, "cortex-m0plus")[2]} == {"default"}


def test_weights_that_are_no_numbers_stay() -> None:
    graph = thinned(parse(CASES["dense layer"]), 0.1, 8)
    values = np.array(graph.initializers["w"])
    values[0, 0] = np.inf
    graph.set_initializer("w", values)
    assert all("SR" not in each for each in program(Compiler.of("cortex-m4").prepared(graph), "cortex-m4")[2])


@pytest.mark.parametrize(("name", "sparsity", "ratio"), [("lenet_300_100", 0.922, 7.5), ("lenet_5", 0.962, 2.5)])
def test_networks_pruned_in_groups_take_fewer_instructions_and_bytes(name: str, sparsity: float, ratio: float) -> None:
    graph = pruneir.load(MODELS / f"lenet/{name}_s0.onnx")
    pruned = pruneir.optimize(graph, [f"scalpel{{sparsity={sparsity}}}"], target="cortex-m4", verify=False).graph
    fixed = Compiler.of("cortex-m4").prepared(pruned)
    feeds = random_feeds(fixed, batch=1)
    with TemporaryDirectory(prefix="pruneir-") as folder:
        artifact = compiled(fixed, "cortex-m4", f"{folder}/a")
        (output,), streamed = artifact.run(feeds).values(), artifact.profile(feeds)
        with dense():
            whole = compiled(fixed, "cortex-m4", f"{folder}/b").profile(feeds)
    (wanted,) = next(evaluate(fixed, fixed.outputs, [feeds])).values()
    assert np.abs(output - wanted).max() / np.abs(wanted).max() < TOLERANCE
    assert streamed.instructions is not None
    assert whole.instructions is not None
    assert streamed.flash is not None
    assert whole.flash is not None
    assert whole.instructions / streamed.instructions > ratio
    assert streamed.flash.rodata < 0.12 * whole.flash.rodata
