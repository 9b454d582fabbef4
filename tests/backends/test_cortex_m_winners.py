"""Networks with winners on Cortex-M: inputs that are zero are skipped where that is less, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pruneir.artifact import LayerProfile
from pruneir.backends.cortex_m import backend, columns, lower, reducing, toolchain
from pruneir.backends.cortex_m.backend import CortexM
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.lowering.last import Last
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import evaluate
from pruneir.sparsity.weights import weights
from pruneir.storage import Storage
from pruneir.targets import TARGETS
from pruneir.verify.feeds import random_feeds
from support.bundles import bundled
from support.quick import first_quick
from support.winners import winning
from support.zeros import thinned

pytestmark = [pytest.mark.qemu, pytest.mark.tvm]

TOLERANCE = 1e-4
"""Largest error, as a share of the largest output."""

SKIPPED = {
    "dense layer": "x[1,90] -> y { h = Relu(x); a = Gemm(h, w[90,44], b[44]); y = Relu(a) }",
    "dense layer, transposed": "x[1,64] -> y { h = Relu(x); y = Gemm(h, w[37,64], b[37], transB=1) }",
    "no bias": "x[1,48] -> y { h = Tanh(x); y = MatMul(h, w[48,40]) }",
    "rows": "x[1,7,48] -> y { h = Tanh(x); y = MatMul(h, w[48,32]) }",
    "1×1": "x[1,40,6,8] -> y { h = Relu(x); y = Conv(h, w[24,40,1,1], b[24]) }",
    "3×3": "x[1,9,9,12] -> y { h = Relu(x); a = Conv(h, w[16,9,3,3], b[16], pads=[1,1,1,1]); y = Relu(a) }",
    "not padded": "x[1,6,9,7] -> y { h = Tanh(x); y = Conv(h, w[21,6,3,3], b[21]) }",
    "padded on one side": "x[1,5,8,7] -> y { h = Tanh(x); y = Conv(h, w[20,5,3,3], pads=[2,0,1,1]) }",
    "5×3, dilated": "x[1,4,13,9] -> y { h = Tanh(x); y = Conv(h, w[19,4,5,3], dilations=[2,3], pads=[4,2,4,2]) }",
    "3×3, strided": "x[1,8,12,10] -> y { h = Relu(x); y = Conv(h, w[24,8,3,3], b[24], strides=[2,2], pads=[1,1,1,1]) }",
    "5×5, strided": "x[1,6,9,14] -> y { h = Tanh(x); y = Conv(h, w[20,6,5,5], strides=[3,2], pads=[2,1,1,2]) }",
    "1-D, strided": "x[1,12,32] -> y { h = Tanh(x); y = Conv(h, w[24,12,8], b[24], strides=[4], pads=[2,2]) }",
    "the size of the kernel": "x[1,12,3,3] -> y { h = Relu(x); y = Conv(h, w[32,12,3,3], b[32]) }",
    "1-D": "x[1,16,30] -> y { h = Relu(x); y = Conv(h, w[24,16,5], b[24], pads=[2,2]) }",
    "in blocks": "x[1,8,16,16] -> y { h = Relu(x); y = Conv(h, w[64,8,5,5], b[64], pads=[2,2,2,2]) }",
    "two batches": "x[2,6,8,8] -> y { h = Relu(x); y = Conv(h, w[16,6,3,3], b[16], pads=[1,1,1,1]) }",
    "a reader of all": (
        "x[1,16,7,7] -> y { h = Relu(x); a = Conv(h, w[16,16,3,3], b[16], pads=[1,1,1,1]); s = Add(a, h); y = Relu(s) }"
    ),
    "layers alike": (
        "x[1,16,6,6] -> y { h = Relu(x); a = Conv(h, w[16,16,3,3], b[16], pads=[1,1,1,1]); s = Relu(a);"
        " y = Conv(s, w2[16,16,3,3], b2[16], pads=[1,1,1,1]) }"
    ),
    "weights that two layers share": (
        "x[1,16,6,6] -> y, z { h = Relu(x); y = Conv(h, w[16,16,3,3], b[16], pads=[1,1,1,1]);"
        " z = Conv(h, w, b, pads=[1,1,1,1]) }"
    ),
}

IMAGE = "x[1,16,14,14] -> y { h = Relu(x); y = Conv(h, w[32,16,5,5], b[32], pads=[2,2,2,2]) }"
VECTOR = "x[1,400] -> y { h = Relu(x); y = Gemm(h, w[400,120], b[120]) }"
DENSE = "x[1,91] -> y { h = Relu(x); a = Gemm(h, w[91,44], b[44]); y = Relu(a) }"
CONV = "x[1,10,9,12] -> y { h = Relu(x); a = Conv(h, w[16,10,3,3], b[16], pads=[1,1,1,1]); y = Relu(a) }"
GRAPHS = {
    **{case: winning(text) for case, text in SKIPPED.items()},
    "flattened": winning(
        "x[1,6,4,5] -> y { h = Relu(x); f = Flatten(h); y = Gemm(f, w[120,50], b[50]) }", readers=("Flatten",)
    ),
    "sampled": winning("x[1,40,40] -> y { h = Tanh(x); y = Conv(h, w[32,40,3], b[32]) }", step=3),
}
WHOLE = {
    "a static threshold": winning(DENSE.replace("91", "92"), static=True),
    "nearly all win": winning(DENSE, 0.9),
    "nearly all win, 3×3": winning(CONV, 0.9),
    "reads all of the value": winning(
        "x[1,90] -> y, z { h = Relu(x); y = Gemm(h, w[90,3], b[3]); s = Sigmoid(h); z = Gemm(s, w2[90,45], b2[45]) }"
    ),
    "more is kept than sums": winning(
        "x[1,90,1,1], z[1,44,5,5] -> y { h = Relu(x); a = Conv(h, w[44,90,1,1], b[44]); s = HardSigmoid(a); y = Mul(s, z) }"
    ),
    "few outputs": winning("x[1,90] -> y { h = Relu(x); y = Gemm(h, w[90,2], b[2]) }"),
    "strided, of odd size": winning(
        "x[1,8,13,9] -> y { h = Relu(x); y = Conv(h, w[24,8,3,3], b[24], strides=[2,2], pads=[1,1,1,1]) }"
    ),
    "depthwise": winning("x[1,8,9,9] -> y { h = Relu(x); y = Conv(h, w[8,1,3,3], b[8], group=8, pads=[1,1,1,1]) }"),
    "grouped": winning("x[1,8,9,9] -> y { h = Relu(x); y = Conv(h, w[16,4,3,3], b[16], group=2, pads=[1,1,1,1]) }"),
    "padded beyond the kernel": winning(
        "x[1,8,9,9] -> y { h = Relu(x); y = Conv(h, w[16,8,1,1], b[16], pads=[1,1,1,1]) }"
    ),
}
"""Networks of which all layers are skipped, and of which none are."""


@cache
def computed(cpu: str, kept: float) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray], list[LayerProfile]]:
    """What one firmware of all networks computes, inputs skipped whether it pays or not; ONNX Runtime; its layers."""
    graph = bundled({case: thinned(each, kept) for case, each in {**GRAPHS, **WHOLE}.items()})
    graph = Compiler.of(cpu).prepared(graph)
    feeds = random_feeds(graph, batch=1, seed=1)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="pruneir-") as folder:
        patch.setattr(columns.Skipped, "pays", lambda *given: True)
        patch.setattr(columns.Skipped, "fits", lambda *given: True)
        artifact = CortexM().compile(graph, TARGETS[cpu], Path(folder), progress=lambda text, share: None)
        outputs, profile = artifact.run(feeds), artifact.profile(feeds)
    return dict(outputs), dict(next(evaluate(graph, graph.outputs, [feeds]))), list(profile.layers)


@pytest.mark.parametrize("case", [*GRAPHS, *WHOLE])
@pytest.mark.parametrize(
    ("cpu", "kept"),
    first_quick([("cortex-m4", 0.1), ("cortex-m4", 1.0), ("cortex-m7", 1.0), ("cortex-m33", 0.1), ("cortex-m55", 1.0)]),
)
def test_the_firmware_computes_what_onnx_runtime_does(cpu: str, kept: float, case: str) -> None:
    outputs, wanted, layers = computed(cpu, kept)
    for name in (name for name in wanted if name.startswith(f"{case}/")):
        assert np.abs(wanted[name]).max() > 0
        assert np.abs(outputs[name] - wanted[name]).max() / np.abs(wanted[name]).max() < TOLERANCE
    if case in GRAPHS:
        assert any("winners" in layer.schedule for layer in layers if layer.name.startswith(f"{case}/"))


@cache
def chosen(cpu: str) -> dict[str, list[str]]:
    """Schedules of layers that skip inputs, by network."""
    graph = Compiler.of(cpu).prepared(bundled({**GRAPHS, **WHOLE}))
    found: dict[str, list[str]] = {}
    for call in lower.lowered(graph, CPUS[cpu]).calls:
        skips = call.schedule.startswith("winners")
        found.setdefault(call.layer.partition("/")[0], []).extend([call.schedule] * skips)
    return found


@pytest.mark.parametrize("case", [*GRAPHS, *WHOLE])
@pytest.mark.parametrize("cpu", first_quick(["cortex-m4", "cortex-m7"]))
def test_inputs_are_skipped_where_it_is_less(cpu: str, case: str) -> None:
    """The graph says how many inputs are zero, and no other network is touched."""
    skip = chosen(cpu)[case]
    assert len(skip) == (0 if case in WHOLE else 2 if case == "weights that two layers share" else 1)
    assert all(re.fullmatch(r"winners, columns in \d+s, 2\d% of inputs", schedule) for schedule in skip)


@pytest.mark.parametrize(
    ("cpu", "rate", "text", "schedule"),
    [
        ("cortex-m55", 0.1, IMAGE, "winners, columns in 16s, 10% of inputs"),
        ("cortex-m55", 0.6, IMAGE, "tile "),
        ("cortex-m4", 0.6, IMAGE, "winners, columns in 16s, 60% of inputs"),
        ("cortex-m4", 0.1, VECTOR, "winners, columns in 15s, 10% of inputs"),
        ("cortex-m0plus", 0.1, VECTOR, "default"),
    ],
)
def test_processors_choose_for_themselves(cpu: str, rate: float, text: str, schedule: str) -> None:
    (layer,) = linear(winning(text, rate), cpu)
    assert layer.startswith(schedule)


@pytest.mark.parametrize(
    ("width", "kept", "rate", "schedule"),
    [
        (1, 0.1, 0.1, "winners, columns, 10.0%"),
        (1, 0.1, 0.6, "CSR"),
        (8, 0.1, 0.1, "winners, columns in 8s, 10.0%"),
        (8, 0.1, 0.7, "CSR in 8s"),
        (1, 0.9, 0.1, "winners, columns in 1"),
    ],
)
def test_zeros_on_both_sides(width: int, kept: float, rate: float, schedule: str) -> None:
    (layer,) = linear(thinned(winning(VECTOR, rate), kept, width), "cortex-m4")
    assert layer.startswith(schedule)


EPILOGUES = {
    "dense layer": "x[1,300] -> y { h = Relu(x); a = Gemm(h, w[300,64], b[64]); y = Relu(a) }",
    "1×1, hard swish": (
        "x[1,24,10,10] -> y { h = Relu(x); a = Conv(h, w[32,24,1,1], b[32]); c = Add(a, t[]); r = Clip(c, {0.0}, {6.0});"
        " m = Mul(a, r); y = Mul(m, s[]) }"
    ),
    "3×3, residual": (
        "x[1,12,10,10], z[1,20,10,10] -> y { h = Relu(x); a = Conv(h, w[20,12,3,3], b[20], pads=[1,1,1,1]);"
        " s = Add(a, z); y = Relu(s) }"
    ),
}


@pytest.mark.parametrize("cpu", first_quick(["cortex-m4", "cortex-m55"]))
def test_no_layer_takes_more_than_with_all_inputs(cpu: str) -> None:
    graphs = {
        f"{case} {rate}": winning(text, rate) for case, text in EPILOGUES.items() for rate in (0.1, 0.3, 0.5, 0.7)
    }
    for number, graph in enumerate(graphs.values()):  # weights of its own say the rate of each
        (weight,) = weights(graph)
        graph.set_initializer(weight.name, weight.array * np.float32(1 + number / 64))
    graph = Compiler.of(cpu).prepared(bundled(graphs))
    feeds, counts = random_feeds(graph, batch=1), []
    for skips in (True, False):
        with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="pruneir-") as folder:
            patch.setattr(columns.Skipped, "pays", columns.Skipped.pays if skips else lambda *given: False)
            patch.setattr(backend, "_LAST", Last())
            artifact = CortexM().compile(graph, TARGETS[cpu], Path(folder), progress=lambda text, share: None)
            layers = [layer for layer in artifact.profile(feeds).layers if layer.macs]
        counts.append([layer.instructions or 0 for layer in layers])
        assert any("winners" in layer.schedule for layer in layers) is skips
    assert all(own <= other + 4 for own, other in zip(*counts, strict=True))
    assert sum(counts[1]) > 1.05 * sum(counts[0])


def linear(graph: Graph, cpu: str) -> list[str]:
    """Schedules of the steps whose name is that of the output."""
    made = lower.lowered(Compiler.of(cpu).prepared(graph), CPUS[cpu])
    return [call.schedule for call in made.calls if call.layer == "y" or "matmul" in call.layer]


def test_networks_without_winners_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object) -> None:
        raise AssertionError

    monkeypatch.setattr(reducing, "layer_of", never)
    assert linear(winning(VECTOR, static=True), "cortex-m4")[0].startswith("tile")


@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("text", [IMAGE, VECTOR])
def test_sizes_are_predicted(cpu: str, text: str, tmp_path: Path) -> None:
    """RAM to the byte; flash within 15 %, constants but for alignment."""
    graph = Compiler.of(cpu).prepared(winning(text, 0.1))
    predicted = CortexM().predict(graph, TARGETS[cpu])
    artifact = CortexM().compile(graph, TARGETS[cpu], tmp_path, progress=lambda text, share: None)
    built, sections = artifact.manifest.sizes, toolchain.sections(tmp_path / "build" / "model.elf")
    assert predicted.flash
    assert predicted.ram
    assert built.flash
    assert predicted.flash.total == pytest.approx(built.flash.total, rel=0.15)
    assert predicted.flash.rodata == pytest.approx(built.flash.rodata, abs=512)
    assert predicted.ram.arena == sections.arena


@pytest.mark.parametrize("kept", [1.0, 0.3])
def test_layers_that_skip_inputs_say_what_their_weights_take(kept: float) -> None:
    made = lower.lowered(Compiler.of("cortex-m4").prepared(thinned(winning(VECTOR, 0.1), kept)), CPUS["cortex-m4"])
    (stored,), constants = made.storages(), {each.name: each.nbytes for each in made.constants}
    (call,) = (call for call in made.calls if call.storage is not None)
    assert (str(stored.formats[0]), str(stored.format)) == ("dense", "columns in 15s")
    assert stored.format.nbytes == constants[call.weights]
    assert stored.format.cost < stored.formats[0].cost
    assert (len(stored.formats) > 2) is (kept < 1)
    assert Storage.from_document(stored.document()) == stored
