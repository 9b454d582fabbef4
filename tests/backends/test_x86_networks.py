"""Networks that nobody thought of: what the library computes for random ones is what ONNX Runtime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds
from support import needs
from support.bundles import bundled
from support.x86_networks import networks

pytestmark = [
    needs.avx2,
    needs.cc,
    pytest.mark.tvm,
]

TOLERANCE = 1e-4
"""Largest error, as a share of the largest output."""


def drawn(count: int) -> dict[str, Graph]:
    found: list[Graph] = []

    @settings(max_examples=count, derandomize=True, deadline=None, phases=[Phase.generate], database=None,
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(networks())
    def draw(graph: Graph) -> None:
        found.append(graph)

    draw()
    return {str(place): graph for place, graph in enumerate(found)}


def test_random_networks_compute_what_onnx_runtime_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler.of("x86-avx2")
    graph = bundled({name: compiler.prepared(each) for name, each in drawn(20).items()})
    feeds = random_feeds(graph, batch=1, seed=1)
    monkeypatch.setenv("OPT", "-O0")
    outputs = compiler.compile(graph, tmp_path / "x86", fold=False).artifact.run(feeds)
    wanted = next(evaluate(graph, graph.outputs, [feeds]))
    assert len(wanted) >= 20
    for name, array in wanted.items():
        assert (outputs[name].dtype, outputs[name].shape) == (array.dtype, array.shape), name
        finite = np.isfinite(array)
        assert np.array_equal(finite, np.isfinite(outputs[name])), name
        error = np.abs(outputs[name] - array)[finite].max(initial=0)
        assert error <= TOLERANCE * np.abs(array)[finite].max(initial=0), name
