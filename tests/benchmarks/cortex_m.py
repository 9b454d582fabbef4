"""Networks on Cortex-M in QEMU: instructions and memory, uncut and cut to a half, held to what was set out.

    python tests/benchmarks/cortex_m.py [--models mnist wdcnn …] [--cpus cortex-m4 …] [--passes none slim …]

Instructions are counted, not timed. A bar that is missed is marked with `!`, and makes the exit code 1:

    instructions a MAC    1.8 on Cortex-M4 for networks of dense convolutions, 2.2 with depthwise ones; 1.6 on M7, M55
    arena                 1.1 times what no arrangement can go below
    error                 1e-4 of the largest output of ONNX Runtime
    `macs`                cut to half of its MACs, a network takes at least 1.8 times fewer instructions
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import pruneir
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import evaluate
from pruneir.shapes import with_input_shapes
from pruneir.verify.feeds import random_feeds

MODELS = Path(__file__).parents[2] / "models"
CPUS = ("cortex-m4", "cortex-m7", "cortex-m55")
PASSES = {
    "none": [],
    "slim": ["slim{ratio=0.5}"],
    "filter": ["filter{ratio=0.5}"],
    "macs": ["filter{macs=0.5}"],
}
ERROR, ARENA, PAYS = 1e-4, 1.1, 1.8


@dataclass(frozen=True)
class Model:
    """A network: its file, shapes of its inputs where they are not fixed, and whether its filters are depthwise."""

    path: str
    shapes: tuple[tuple[str, tuple[int | str, ...]], ...] = ()
    depthwise: bool = False

    def bar(self, cpu: str) -> float:
        """The most instructions a MAC."""
        if cpu != "cortex-m4":
            return 1.6
        return 2.2 if self.depthwise else 1.8

    def graph(self) -> Graph:
        """It, loaded."""
        graph = pruneir.load(MODELS / self.path)
        return with_input_shapes(graph, dict(self.shapes)) if self.shapes else graph


NETWORKS = {
    "mnist": Model("mnist_conv_cntk.onnx"),
    "resnet": Model("mnist_resnet/mnist_resnet_plain.onnx"),
    "mobilenet-se": Model("mnist_mobilenet_se/mnist_mobilenet_se_s0.onnx", depthwise=True),
    "wdcnn": Model("wdcnn/wdcnn_s0.onnx"),
    "ssd": Model("ssd/ssd_s0.onnx", (("x", (1, 1, 96, 96)),)),
    "ssd-slim": Model("ssd/ssd_s0_slim.onnx", (("x", (1, 1, 96, 96)),)),
    "direction": Model("ppocr_mobile_v2_cls.onnx", (("x", (1, 3, 48, 192)),), depthwise=True),
}


@dataclass(frozen=True)
class Row:
    """What a network takes on a processor; `error` as a share of the largest output."""

    network: str
    cut: str
    cpu: str
    macs: int
    instructions: int
    flash: int
    arena: int
    lower_bound: int
    error: float

    @property
    def a_mac(self) -> float:
        """Instructions a MAC."""
        return self.instructions / self.macs


def cut(graph: Graph, name: str, cpu: str) -> Graph:
    """The graph behind passes, with channel counts that suit a processor."""
    return pruneir.optimize(graph, passes=PASSES[name], target=cpu, verify=False).graph if PASSES[name] else graph


def measured(network: str, cut_by: str, cpu: str, graph: Graph, samples: int = 1) -> Row:
    """The row of a graph: compiled, run on random samples, and profiled."""
    compiler = Compiler.of(cpu)
    fixed = compiler.prepared(graph, fold=False)
    feeds = [random_feeds(fixed, batch=1, seed=seed) for seed in range(samples)]
    with TemporaryDirectory(prefix="pruneir-") as place:
        artifact = compiler.compile(graph, Path(place) / "out").artifact
        outputs = list(artifact.run_all(feeds))
        profile = artifact.profile(feeds[0])
    errors = [
        np.abs(found[name] - array).max() / np.abs(array).max()
        for found, wanted in zip(outputs, evaluate(fixed, fixed.outputs, feeds), strict=True)
        for name, array in wanted.items()
    ]
    assert profile.flash is not None
    assert profile.ram is not None
    return Row(
        network,
        cut_by,
        cpu,
        profile.macs,
        profile.instructions or 0,
        profile.flash.total,
        profile.ram.arena,
        profile.arena_lower_bound or 0,
        float(np.max(errors)),  # which is NaN if one is
    )


def misses(row: Row, uncut: Row | None) -> Iterator[str]:
    """Columns of a row that miss their bars; `uncut` is the row of the network as it was, on the same processor."""
    if row.cut in ("none", "macs") and row.a_mac > NETWORKS[row.network].bar(row.cpu):
        yield "a MAC"
    if row.arena > ARENA * row.lower_bound:
        yield "arena"
    if not row.error <= ERROR:
        yield "error"
    if row.cut == "macs" and uncut is not None and uncut.instructions < PAYS * row.instructions:
        yield "fewer"


def shown(row: Row, uncut: Row | None, missed: Sequence[str]) -> str:
    """The row as markdown."""
    fewer = uncut.instructions / row.instructions if uncut is not None else 1.0
    cells = {
        "network": row.network,
        "cut": row.cut,
        "processor": row.cpu,
        "MACs": f"{row.macs:,}",
        "instructions": f"{row.instructions:,}",
        "a MAC": f"{row.a_mac:.2f}",
        "fewer": f"{fewer:.2f}×",
        "flash": f"{row.flash:,}",
        "arena": f"{row.arena:,}",
        "bound": f"{row.lower_bound:,}",
        "error": f"{row.error:.1e}",
    }
    return "| " + " | ".join(f"{text} !" if name in missed else text for name, text in cells.items()) + " |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[*NETWORKS], choices=NETWORKS)
    parser.add_argument("--cpus", nargs="+", default=CPUS, choices=CPUS)
    parser.add_argument("--passes", nargs="+", default=[*PASSES], choices=PASSES)
    options = parser.parse_args()
    columns = (
        "network",
        "cut",
        "processor",
        "MACs",
        "instructions",
        "a MAC",
        "fewer",
        "flash",
        "arena",
        "bound",
        "error",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    missed = 0
    for network in options.models:
        graph = NETWORKS[network].graph()
        uncut: dict[str, Row] = {}
        for name in options.passes:
            for cpu in options.cpus:
                row = measured(network, name, cpu, cut(graph, name, cpu))
                if name == "none":
                    uncut[cpu] = row
                found = [*misses(row, uncut.get(cpu))]
                missed += len(found)
                print(shown(row, uncut.get(cpu), found), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
