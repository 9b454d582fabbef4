"""TopK: the kernel orders as ONNX says, whatever the numbers; graphs with it run on every processor that we write C for."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.backends.cortex_m import lower as cortex_m
from pruneir.backends.cortex_m.backend import CortexM
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.cuda.lower import lowered, target_of
from pruneir.backends.lowering.program import Program
from pruneir.backends.lowering.ranking import HEADER, Ranking, header
from pruneir.backends.x86 import lower as x86
from pruneir.backends.x86.backend import X86
from pruneir.backends.x86.cpu import AVX2
from pruneir.deployment.compiling import Compiler
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io import load
from pruneir.onnx_io.evaluate import evaluate
from pruneir.sparsity.winners import winners
from pruneir.targets import TARGETS
from pruneir.verify.feeds import random_feeds
from support import needs

MODELS = Path(__file__).parents[2] / "models/integral"
RANKINGS = [
    Ranking(outer, length, inner, k, largest, last)
    for outer, length, inner, k in ((1, 1000, 1, 17), (2, 50, 3, 50), (3, 7, 1, 1), (1, 9, 4, 3))
    for largest in (True, False)
    for last in (True, False)
]
NUMBERS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "all kinds": lambda random, size: random.standard_normal(size) * 10.0 ** random.integers(-40, 38, size),
    "few different": lambda random, size: random.integers(-3, 4, size) / 2,
    "zeros of both signs": lambda random, size: random.choice([0.0, -0.0, 1.0, -1.0], size),
    "infinities": lambda random, size: random.choice([np.inf, -np.inf, 0.0, 3e38, -3e38], size),
    "one": lambda random, size: np.full(size, -0.25),
}
TARGETED = [
    pytest.param("x86", marks=needs.avx2),
    *(pytest.param(f"cortex-{cpu}", marks=pytest.mark.qemu) for cpu in ("m4", "m7", "m55")),
]
pytestmark = [pytest.mark.tvm, needs.cc]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("topk")
    (folder / HEADER).write_text(header())
    text = "".join(ranking.source("") for ranking in RANKINGS)
    (folder / "k.c").write_text(f'#include <stddef.h>\n#include "{HEADER}"\n{text}')
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-fsanitize=undefined", "-fno-sanitize-recover"]
    subprocess.run(["cc", *flags, "-shared", "-fPIC", "k.c", "-o", "k.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "k.so"))


def computed(kernels: ctypes.CDLL, ranking: Ranking, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and places."""
    k = 1 if ranking.last else ranking.k
    values = np.full((ranking.outer, k, ranking.inner), np.nan, np.float32)
    places, room = np.zeros(values.shape, np.int64), np.zeros(ranking.workspace, np.uint8)
    results = (values,) if ranking.last else (values, places)
    getattr(kernels, ranking.name)(*(array.ctypes.data_as(ctypes.c_void_p) for array in (x, *results, room)))
    return values, places


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("ranking", RANKINGS, ids=lambda ranking: ranking.name)
def test_the_kernel_orders_by_size_then_by_place(kernels: ctypes.CDLL, ranking: Ranking, kind: str) -> None:
    random = np.random.default_rng(0)
    x = NUMBERS[kind](random, (ranking.outer, ranking.length, ranking.inner)).astype(np.float32)
    order = np.argsort(-x if ranking.largest else x, axis=1, kind="stable")[:, : ranking.k]
    wanted = np.take_along_axis(x, order, axis=1)
    values, places = computed(kernels, ranking, x)
    if ranking.last:
        np.testing.assert_array_equal(values, wanted[:, -1:])
    else:
        np.testing.assert_array_equal(values, wanted)
        np.testing.assert_array_equal(places, order)


@pytest.mark.parametrize("ranking", RANKINGS, ids=lambda ranking: ranking.name)
def test_nan_is_larger_than_all_numbers(kernels: ctypes.CDLL, ranking: Ranking) -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((ranking.outer, ranking.length, ranking.inner)).astype(np.float32)
    x[random.random(x.shape) < 0.3] = np.nan
    wanted = np.sort(x, axis=1)  # NaN last
    wanted = (wanted[:, ::-1] if ranking.largest else wanted)[:, : ranking.k]
    values, _ = computed(kernels, ranking, x)
    np.testing.assert_array_equal(values, wanted[:, -1:] if ranking.last else wanted)


def run(graph: Graph, target: str, folder: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    backend = X86() if target == "x86" else CortexM()
    made = backend.compile(graph, TARGETS[target], folder, progress=lambda text, share: None)
    return dict(made.run(feeds))


OPSETS = {
    "opset 10": "opset 10; x[1,40] -> y, i:i64 { y, i = TopK(x, {6}) }",
    "an attribute": "opset 7; x[3,11] -> y, i:i64 { y, i = TopK(x, k=4) }",
}


@pytest.mark.parametrize("text", OPSETS.values(), ids=OPSETS)
@pytest.mark.parametrize("target", [TARGETED[0], TARGETED[1]])
def test_k_is_found_where_each_opset_has_it(text: str, target: str, tmp_path: Path) -> None:
    graph = Compiler.of(target).prepared(parse(text))
    feeds = random_feeds(graph, batch=1, seed=2)
    outputs = run(graph, target, tmp_path, feeds)
    for name, wanted in next(evaluate(graph, graph.outputs, [feeds])).items():
        np.testing.assert_array_equal(outputs[name], wanted)


@cache
def masked(name: str, threshold: str) -> Graph:
    spec = f"integral{{winners=0.3,threshold={threshold}}}"
    graph: Graph = pruneir.optimize(load(MODELS / f"{name}_s0.onnx"), [spec], verify=False).graph
    return graph


@pytest.mark.slow
@pytest.mark.parametrize("threshold", ["exact", "sampled"])
@pytest.mark.parametrize("name", ["mlp3", "convnet5"])
@pytest.mark.parametrize("target", TARGETED)
def test_networks_with_winners_compute_what_onnx_runtime_does(
    name: str, threshold: str, target: str, tmp_path: Path
) -> None:
    graph = Compiler.of(target).prepared(masked(name, threshold)).copy()
    graph.outputs += [mask.output for mask in winners(graph)]
    feeds = random_feeds(graph, batch=1, seed=3)
    outputs = run(graph, target, tmp_path, feeds)
    for value, wanted in next(evaluate(graph, graph.outputs, [feeds])).items():
        np.testing.assert_array_equal(outputs[value] == 0, wanted == 0)
        np.testing.assert_allclose(outputs[value], wanted, atol=1e-4 * np.abs(wanted).max())


PROGRAMS: dict[str, Callable[[Graph], Program]] = {
    "x86": partial(x86.lowered, cpu=AVX2),
    "cortex-m4": partial(cortex_m.lowered, cpu=CPUS["cortex-m4"]),
}


@pytest.mark.parametrize("target", PROGRAMS)
def test_tables_call_a_ranking_by_its_operator(target: str) -> None:
    graph = parse("x[3,40] -> y, i:i64, z, j:i64 { y, i = TopK(x, {6}, largest=0); z, j = TopK(y, {2}) }")
    calls = PROGRAMS[target](Compiler.of(target).prepared(graph)).calls
    assert {call.layer: call.schedule for call in calls if "=" in call.schedule} == {
        "y": "topk least 3×40×1, k=6",
        "z": "topk 3×6×1, k=2",
    }


def test_gpus_do_not_rank() -> None:
    graph = Compiler.of("cuda").prepared(parse("x[1,6] -> y, i:i64 { y, i = TopK(x, {2}) }"))
    with pytest.raises(PruneirError, match=r"y \(TopK\): no kernel for GPUs ranks"):
        lowered(graph, target_of(80))
