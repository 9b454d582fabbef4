"""The SSD in models/, cut and compiled: the outputs of ONNX Runtime on either machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.cortex_m import ERROR, NETWORKS, cut, measured, misses

from pruneir.api import compile
from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds
from support import needs

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

# name: the network, what cuts it, and the flash and RAM of a Cortex-M7 that it fits in
CUT = {
    "half of its channels": ("ssd", "filter", 1 << 20, 256 << 10),
    "in phases, retrained": ("ssd-slim", "none", 512 << 10, 512 << 10),
}


@pytest.fixture(scope="module")
def samples() -> list[dict[str, np.ndarray]]:
    with np.load(Path(__file__).parents[2] / "models/ssd/test_300.npz") as archive:
        return [{"x": archive["x"][[i]].astype(np.float32)} for i in range(2)]


@pytest.mark.qemu
@pytest.mark.parametrize(("name", "by", "flash", "ram"), CUT.values(), ids=CUT)
def test_on_a_microcontroller(name: str, by: str, flash: int, ram: int) -> None:
    network = NETWORKS[name]
    row = measured(name, by, "cortex-m7", cut(network.graph(), by, "cortex-m7"))
    assert [*misses(row, None)] == []
    assert row.a_mac < network.bar("cortex-m7")
    assert row.flash <= flash
    assert row.arena <= ram


@needs.cc
@pytest.mark.parametrize(("name", "by"), [row[:2] for row in CUT.values()], ids=CUT)
def test_on_x86(name: str, by: str, tmp_path: Path, samples: list[dict[str, np.ndarray]]) -> None:
    graph: Graph = cut(NETWORKS[name].graph(), by, "x86")
    made = compile(graph, "x86", tmp_path / "out")
    feeds = [*samples, random_feeds(graph, batch=1)]
    wanted = [{name: array.copy() for name, array in each.items()} for each in evaluate(graph, graph.outputs, feeds)]
    for found, expected in zip(made.artifact.run_all(feeds), wanted, strict=True):
        for output, array in expected.items():
            assert found[output].shape == array.shape
            assert np.abs(found[output] - array).max() <= ERROR * np.abs(array).max()
