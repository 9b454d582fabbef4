"""Zero weights on Cortex-M in QEMU: what LeNets pruned in SIMD groups take, and from which density on a layer gains.

    python tests/benchmarks/sparse_cortex_m.py [--only lenet curves] [--cpus cortex-m4 …] [--plot FILE.svg]

The LeNets are pruned and retrained by docs/examples/scalpel_cortex_m.toml, as in scalpel.py, once; the files are kept in
the folder for temporary files. Each is compiled with its zeros (the dense tiles), in plain CSR, and as the compiler
chooses. Bars on Cortex-M4: geometric mean of the instruction ratios ≥ 5, weights in flash −88 %, error ≤ 1e-4 of ONNX
Runtime's largest output. A bar that is missed is marked with `!`, and makes the exit code 1.

The curves are of single layers with random zeros, in groups as the target has them and one by one, computed without their
zeros whether it pays or not; up to the break-even density they take fewer instructions by what the compiler asks for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import scalpel

import pruneir
from pruneir.api import optimize_by
from pruneir.artifact import Array, Profile
from pruneir.backends.cortex_m import backend, sparse
from pruneir.backends.lowering.last import Last
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph, parse
from pruneir.onnx_io import load
from pruneir.onnx_io.evaluate import evaluate
from pruneir.sparsity.weights import density, weights
from pruneir.targets import TARGETS
from pruneir.verify.feeds import random_feeds
from support.bundles import bundled
from support.digits import digits
from support.zeros import break_even, thinned

CPUS = ("cortex-m4", "cortex-m7", "cortex-m55")
RATIO, FLASH, ERROR = 5.0, -0.88, 1e-4
PLOT = Path(__file__).parents[2] / "docs/figures/sparse_cortex_m.svg"

RECIPES = {
    "lenet_300_100": scalpel.recipe_of("cortex_m", 0),
    "lenet_5": scalpel.recipe_of("cortex_m", 0, rounds=3, scalpel_sparsity=0.665, train_epochs=3, train_lr=0.05),
}
KERNELS = {
    "dense layer 400→120": "x[1,400] -> y { a = Gemm(x, w[400,120], b[120]); y = Relu(a) }",
    "1×1 conv 48→48, 14×14": "x[1,48,14,14] -> y { a = Conv(x, w[48,48,1,1], b[48]); y = Relu(a) }",
    "3×3 conv 16→32, 14×14": "x[1,16,14,14] -> y { a = Conv(x, w[32,16,3,3], b[32], pads=[1,1,1,1]); y = Relu(a) }",
}
DENSITIES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@contextmanager
def ways(changed: Mapping[str, object]) -> Iterator[None]:
    """Other rules for what is computed without zeros: attributes of `sparse`."""
    with patch.multiple(sparse, **dict[str, Any](changed)), patch.object(backend, "_LAST", Last()):
        yield


DENSE: Mapping[str, object] = {"best": lambda *given: None}
PLAIN: Mapping[str, object] = {"WIDEST": 1, "BLOCKS": (1,)}
"""Rules by which zeros are computed like other numbers, and by which there is no other format than plain CSR."""


class Point(NamedTuple):
    """A density, instructions with zeros over those without, and how the weights are stored."""

    kept: float
    ratio: float
    stored: str


Curve = tuple[str, str]
"""A kernel, and which zeros it has."""


@dataclass(frozen=True)
class Run:
    """A profile, and the error as a share of the largest output."""

    profile: Profile
    error: float

    @property
    def instructions(self) -> int:
        """In total."""
        return self.profile.instructions or 0

    @property
    def flash(self) -> int:
        """Bytes of constants."""
        assert self.profile.flash is not None
        return self.profile.flash.rodata


def measured(graph: Graph, cpu: str, count: int = 2, samples: Sequence[dict[str, Array]] = ()) -> Run:
    """A graph compiled, run on samples, by default so many random ones, and profiled on the first."""
    compiler = Compiler.of(cpu)
    fixed = compiler.prepared(graph)
    feeds = [*samples] or [random_feeds(fixed, batch=1, seed=seed) for seed in range(count)]
    with TemporaryDirectory(prefix="pruneir-") as place:
        artifact = compiler.compile(graph, Path(place) / "out").artifact
        outputs, profile = list(artifact.run_all(feeds)), artifact.profile(feeds[0])
    errors = [
        np.abs(found[name] - array).max() / np.abs(array).max()
        for found, wanted in zip(outputs, evaluate(fixed, fixed.outputs, feeds), strict=True)
        for name, array in wanted.items()
    ]
    return Run(profile, float(np.max(errors)))


def pruned(name: str) -> Graph:
    """A LeNet pruned in groups of 8 and retrained, from its file or made."""
    path = Path(gettempdir()) / f"pruneir_scalpel_{name}.onnx"
    if not path.exists():
        graph = optimize_by(RECIPES[name], scalpel.base_network(name, 0), data=digits()[0]).graph
        pruneir.save(graph, path)
    return load(path)


def networks(cpu: str) -> int:
    """Print the tables of the LeNets; how many bars are missed."""
    print(
        f"| {cpu}, network | not zero | with zeros | plain CSR | chosen | ratio | flash: with zeros | plain CSR | chosen | error |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    ratios, missed, layers = [], 0, []
    for name in RECIPES:
        graph = pruned(name)
        with ways(DENSE):
            whole = measured(graph, cpu)
        with ways(PLAIN):
            single = measured(graph, cpu)
        found = measured(graph, cpu)
        ratios.append((whole.instructions / single.instructions, whole.instructions / found.instructions))
        less, error = found.flash / whole.flash - 1, max(single.error, found.error)
        bad = [less > FLASH, error > ERROR]
        missed += sum(bad)
        print(
            f"| {name} | {density(weights(graph)):.1%} | {whole.instructions:,} | {single.instructions:,}"
            f" | {found.instructions:,} | {ratios[-1][1]:.2f}× | {whole.flash:,} | {single.flash:,} |"
            f" {found.flash:,} ({less:+.1%}){' !' * bad[0]} | {error:.0e}{' !' * bad[1]} |"
        )
        layers += [(name, each, whole.profile, single.profile) for each in found.profile.layers]
    csr, mean = (prod(each) ** (1 / len(ratios)) for each in zip(*ratios, strict=True))
    below = cpu == "cortex-m4" and mean < RATIO
    print(f"\ngeometric mean of the ratios: {mean:.2f}×{' !' * below}; in plain CSR {csr:.2f}×\n")
    print("| layer | MACs | with zeros | plain CSR | chosen | as |\n|---|---|---|---|---|---|")
    for name, layer, *others in layers:
        counts = [next(o.instructions or 0 for o in other.layers if o.name == layer.name) for other in others]
        if layer.macs:
            cells = " | ".join(f"{count:,}" for count in (layer.macs, *counts, layer.instructions))
            print(f"| {name} {layer.name} | {cells} | {layer.schedule} |")
    print(flush=True)
    return missed + below


def curves(cpu: str) -> dict[Curve, list[Point]]:
    """The curves of a processor, point by point."""
    width = TARGETS[cpu].simd_width
    always: Mapping[str, object] = {"smaller": lambda *given: True}
    zeros = {
        f"groups of {width}": (width, always),
        "single": (1, always),
        "single, plain CSR": (1, {**PLAIN, **always}),
    }
    with ways(DENSE):
        whole = by_case(measured(bundled({str(i): parse(text) for i, text in enumerate(KERNELS.values())}), cpu, 1))
    found: dict[Curve, list[Point]] = {}
    for name, (size, rules) in zeros.items():
        cases = {
            f"{i} {kept}": thinned(parse(text), kept, size)
            for i, text in enumerate(KERNELS.values())
            for kept in DENSITIES
        }
        with ways(rules), patch.object(sparse.Choice, "pays", lambda *given: True):
            run = measured(bundled(cases), cpu, 1)
        assert run.error <= ERROR
        for case, (count, stored) in by_case(run).items():
            kernel, kept = case.split()
            point = Point(float(kept), whole[kernel][0] / count, stored.split(",")[0])
            found.setdefault((list(KERNELS)[int(kernel)], name), []).append(point)
    return {key: sorted(points) for key, points in found.items()}


def by_case(run: Run) -> Mapping[str, tuple[int, str]]:
    """Instructions and schedule of each case's layer."""
    return {
        layer.name.partition("/")[0]: (layer.instructions or 0, layer.schedule)
        for layer in run.profile.layers
        if layer.macs
    }


def drawn(all_of: Mapping[str, Mapping[Curve, Sequence[Point]]], path: Path) -> None:
    """The curves as a figure."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "pruneir", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(KERNELS), figsize=(4 * len(KERNELS), 3.6), sharey=True)
    for axis, kernel in zip(axes, KERNELS, strict=True):
        for number, (cpu, found) in enumerate(all_of.items()):
            chosen = ((zeros, points) for (name, zeros), points in found.items() if name == kernel)
            for style, (zeros, points) in zip(("-", "--", ":"), chosen, strict=True):
                label = f"{cpu.removeprefix('cortex-').upper()}, {zeros}"
                axis.plot([p.kept for p in points], [p.ratio for p in points], style, color=f"C{number}", label=label)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set(title=kernel, xlabel="weights that are not zero", xscale="log", yscale="log")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("instructions with zeros / without")
    axes[-1].legend(fontsize="x-small", loc="upper right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Print the tables, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["lenet", "curves"], choices=["lenet", "curves"])
    parser.add_argument("--cpus", nargs="+", default=CPUS, choices=CPUS)
    parser.add_argument("--plot", type=Path, default=PLOT)
    options = parser.parse_args()
    missed = sum(networks(cpu) for cpu in options.cpus) if "lenet" in options.only else 0
    if "curves" in options.only:
        print("| kernel | processor | zeros | break-even | ratio at 5 % | 10 % | 20 % | 50 % | stored at 10 % |")
        print("|---|---|---|---|---|---|---|---|---|")
        all_of = {cpu: curves(cpu) for cpu in options.cpus}
        for kernel in KERNELS:
            for cpu, found in all_of.items():
                for zeros, points in ((zeros, points) for (name, zeros), points in found.items() if name == kernel):
                    at = {point.kept: point for point in points}
                    ratios = " | ".join(f"{at[kept].ratio:.2f}×" for kept in (0.05, 0.1, 0.2, 0.5))
                    up_to = break_even([(point.kept, point.ratio) for point in points], 1 / (1 - sparse.DOUBT))
                    print(f"| {kernel} | {cpu} | {zeros} | {up_to} | {ratios} | {at[0.1].stored} |")
        drawn(all_of, options.plot)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
