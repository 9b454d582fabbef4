"""Networks with winners on Cortex-M in QEMU: what skipping inputs that are zero is worth, and up to which winner rate.

    python tests/benchmarks/winners_cortex_m.py [--only networks curves] [--cpus cortex-m4 …]

The networks of models/integral, seed 0, get weights masked and winners by `integral`, without any fine-tuning: what
counts is only where zeros are. Each is compiled as it was without winners, with winners and all inputs computed, and as
the compiler chooses, and run on the first two test digits. Errors are shares of ONNX Runtime's largest output; above
1e-4 they are marked with `!`, and make the exit code 1.

The curves are of single layers that read the winners of random inputs, computed with inputs skipped whether it pays or
not; the mask and its threshold are steps of their own, and left out.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sparse_cortex_m import Run, by_case, measured

import pruneir
from pruneir.artifact import Array
from pruneir.backends.cortex_m import backend, columns
from pruneir.backends.lowering.last import Last
from pruneir.graph import Graph
from pruneir.onnx_io import load
from pruneir.sparsity.weights import weights
from support.bundles import bundled
from support.winners import winning
from support.zeros import break_even, thinned

CPUS = ("cortex-m4", "cortex-m7", "cortex-m55")
ERROR = 1e-4
MODELS = Path(__file__).parents[2] / "models"
NETWORKS = ("mlp3", "convnet5")
KEPT, RATES = (1.0, 0.3, 0.1), (0.1, 0.2, 0.3, 0.5)
"""Shares of the weights, and winner rates of every layer but the first."""
KERNELS = {
    "dense layer 400→120": "x[1,400] -> y { h = Identity(x); a = Gemm(h, w[400,120], b[120]); y = Relu(a) }",
    "1×1 conv 48→48, 14×14": "x[1,48,14,14] -> y { h = Identity(x); a = Conv(h, w[48,48,1,1], b[48]); y = Relu(a) }",
    "3×3 conv 16→32, 14×14": (
        "x[1,16,14,14] -> y { h = Identity(x); a = Conv(h, w[32,16,3,3], b[32], pads=[1,1,1,1]); y = Relu(a) }"
    ),
}
CURVE = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@contextmanager
def skipping(always: bool) -> Iterator[None]:
    """Inputs are skipped always, or never, meanwhile."""
    pays = patch.object(columns.Skipped, "pays", lambda *given: always)
    with pays, patch.object(columns.Skipped, "fits", lambda *given: True), patch.object(backend, "_LAST", Last()):
        yield


def memory(run: Run) -> tuple[int, int]:
    """Bytes of constants and of the arena."""
    assert run.profile.ram is not None
    return run.flash, run.profile.ram.arena


@cache
def masks(name: str, kept: float, rate: float) -> Graph:
    """A network of models/integral with weights masked and winners; with rate 1 there are none."""
    base = load(MODELS / f"integral/{name}_s0.onnx")
    graph: Graph = pruneir.optimize(base, [f"integral{{weights={kept},winners={rate}}}"], verify=False).graph
    return graph


@cache
def images(name: str) -> list[dict[str, Array]]:
    """The first test digits as inputs of a network."""
    (value,) = masks(name, 1, 1).data_inputs
    digits = np.asarray(np.load(MODELS / "data/mnist_test_2k.npz")["x"][:2], np.float32)
    return [{value: image[None]} for image in digits]


def networks(cpus: Sequence[str]) -> int:
    """Print the table of networks; how many errors are too large."""
    missed = 0
    print("| processor | network | weights | no winners |" + "".join(f" {rate:.0%} |" for rate in RATES) + " error |")
    print("|---|---|---|---|" + "---|" * len(RATES) + "---|")
    for cpu, name, kept in itertools.product(cpus, NETWORKS, KEPT):
        without, cells, error = measured(masks(name, kept, 1), cpu, samples=images(name)), [], 0.0
        for rate in RATES:
            whole, found = both(masks(name, kept, rate), cpu, images(name))
            error = max(error, whole.error, found.error)
            ratios = (other.instructions / found.instructions for other in (whole, without))
            cells.append(f"{found.instructions:,}: " + ", ".join(f"{ratio:.2f}×" for ratio in ratios))
        missed += error > ERROR
        end = f"{error:.0e}{' !' * (error > ERROR)}"
        print(f"| {cpu} | {name} | {kept:.0%} | {without.instructions:,} | {' | '.join(cells)} | {end} |", flush=True)
    return missed


def both(graph: Graph, cpu: str, samples: Sequence[dict[str, Array]]) -> tuple[Run, Run]:
    """A graph with all inputs computed, and as the compiler chooses."""
    with skipping(False):
        whole = measured(graph, cpu, samples=samples)
    return whole, measured(graph, cpu, samples=samples)


def layers(cpu: str, rate: float) -> None:
    """Print the layers of the networks, and what they take of memory."""
    print(f"| {cpu}, {rate:.0%} winners | weights | MACs | none skipped | chosen | as |")
    print("|---|---|---|---|---|---|")
    sizes = []
    for name, kept in itertools.product(NETWORKS, KEPT):
        whole, found = both(masks(name, kept, rate), cpu, images(name))
        for own, other in zip(found.profile.layers, whole.profile.layers, strict=True):
            if own.macs and "winners" in own.schedule + other.schedule:
                cells = f"{own.macs:,} | {other.instructions:,} | {own.instructions:,}"
                print(f"| {name} {own.name} | {kept:.0%} | {cells} | {own.schedule} |", flush=True)
        changes = zip(memory(whole), memory(found), strict=True)
        sizes.append(
            f"| {name} | {kept:.0%} | " + " | ".join(f"{a:,} | {b:,} ({b / a - 1:+.0%})" for a, b in changes) + " |"
        )
    print(f"\n| {cpu}, {rate:.0%} winners | weights | flash, none skipped | chosen | arena, none skipped | chosen |")
    print("|---|---|---|---|---|---|", *sizes, sep="\n", flush=True)


def curves(cpu: str, kept: float) -> dict[str, list[tuple[float, float]]]:
    """Of each kernel, winner rates and instructions with none skipped over those with."""
    cases = {(name, rate): winning(text, rate) for name, text in KERNELS.items() for rate in CURVE}
    named = {f"{i}": graph for i, graph in enumerate(cases.values())}
    if kept < 1:
        named = {name: thinned(graph, kept) for name, graph in named.items()}
    for number, graph in named.items():  # weights of its own tell each layer's rate
        (weight,) = weights(graph)
        graph.set_initializer(weight.name, weight.array * np.float32(1 + int(number) / 64))
    with skipping(False):
        whole = by_case(measured(bundled(named), cpu, 1))
    with skipping(True):
        run = measured(bundled(named), cpu, 1)
    assert run.error <= ERROR
    found: dict[str, list[tuple[float, float]]] = {}
    for number, (name, rate) in zip(named, cases, strict=True):
        count, schedule = by_case(run)[number]
        assert schedule.startswith("winners")
        found.setdefault(name, []).append((rate, whole[number][0] / count))
    return found


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["networks", "curves"], choices=["networks", "curves"])
    parser.add_argument("--cpus", nargs="+", default=CPUS, choices=CPUS)
    options = parser.parse_args()
    missed = 0
    if "networks" in options.only:
        missed = networks(options.cpus)
        print()
        layers(options.cpus[0], 0.1)
        print()
    if "curves" in options.only:
        print("| kernel | processor | weights | break-even | ratio at 5 % | 10 % | 20 % | 30 % | 50 % |")
        print("|---|---|---|---|---|---|---|---|---|")
        for cpu, kept in itertools.product(options.cpus, (1.0, 0.1)):
            for kernel, points in curves(cpu, kept).items():
                at = dict(points)
                ratios = " | ".join(f"{at[rate]:.2f}×" for rate in (0.05, 0.1, 0.2, 0.3, 0.5))
                up_to = break_even(points, 1 / (1 - columns.DOUBT))
                print(f"| {kernel} | {cpu} | {kept:.0%} | {up_to} | {ratios} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
