"""Sparse kernels on this machine's x86 processor, one thread: where they break even, and what whole networks gain.

    python tests/benchmarks/sparse_x86.py [--only kernels networks] [--estimated ['Zen 4' …]] [--plot FILE.svg]
                                          [--layers 3×3 …] [--networks LeNet …] [--repeats 12] [--mca llvm-mca]

kernels    our dense kernel (Winograd where that is faster) by the sparse one, layer by layer, for groups of 8 filters and
           for weights that are zero one by one; both in turns in one process, the least cycles of each count. `at` is
           the share of zeros from which the sparse kernel is the faster one, between two measured shares on a straight line
estimated  the same for processors that are not here: what their cores would take to compute by llvm-mca, or to fetch
           lines of cache, if that is longer (x86_processors.py). For the processor whose code was measured, the two are
           shown side by side, which says how far the others are to be trusted
networks   pruned by `scalpel` at random weights, which prove nothing but speed: compiled as they are, compiled without
           sparse kernels, and in ONNX Runtime with all graph optimisations, in turns: medians of the time that the thread
           computes. At batch 1 the samples of one long batch follow each other in C, and the time of one counts: a
           Python call takes longer than such a network

Bars, marked with `!` where missed, which makes the exit code 1: fully connected networks at 92 % zeros ≥ 3.5 times as
fast as our dense kernels at batch 1 and as ONNX Runtime at batch 64; convolutions at 90 % ≥ 1.5 times as fast as our
dense ones; no network slower than dense; outputs within 1e-4 of ONNX Runtime's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from shutil import which
from statistics import median
from tempfile import TemporaryDirectory
from time import thread_time
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sparse_x86_curves import HEAD, LAYERS, Curves, agreement, estimated, lines, measured, plot
from benchmarks.x86_processors import PROCESSORS

import pruneir
from pruneir.backends.lowering.last import Last
from pruneir.backends.x86 import backend, convolutions
from pruneir.backends.x86.cpu import AVX2, AVX512, features
from pruneir.backends.x86.tiling import Geometry
from pruneir.deployment.compiling import Compiler
from pruneir.graph import Graph, parse
from pruneir.onnx_io.session import session
from pruneir.shapes import input_sizes, with_input_shapes
from support.classics import resnet18

# Kernels

NAMES = {AVX2: "AVX2", AVX512: "AVX-512"}


def kernels(
    layers: Mapping[str, Geometry], repeats: int, processors: Sequence[str], mca: str, image: str | None
) -> None:
    """Print the tables of measured and of estimated ratios, and draw them."""
    shown: dict[str, dict[str, Curves]] = {}

    def table(title: str, found: Callable[[Geometry], Curves]) -> dict[str, Curves]:
        print(f"\n{title}\n\n{HEAD}")
        made = {}
        for name, geometry in layers.items():
            made[name] = found(geometry)
            print("\n".join(lines(name, made[name])), flush=True)
        return made

    code = AVX512 if {*AVX512.features} <= features() else AVX2
    title = f"{NAMES[code]}, measured"
    shown[title] = here = table(title, partial(measured, cpu=code, repeats=repeats))
    for name in processors:
        processor = PROCESSORS[name]
        title = f"{NAMES[processor.code]} on {name}, estimated"
        found = table(title, partial(estimated, processor=processor, mca=mca))
        if processor.code == code:
            print("\n" + "\n".join(agreement(here, found)))
        else:
            shown[title] = found
    if image:
        plot(shown, image)


# Networks

ROUNDS, TURN = 31, 2.0
"""Turns of each runner, and the ms that one takes at least."""


def mlp(*sizes: int) -> str:
    """A network of dense layers, of any batch."""
    lines, before = [], "x"
    for place, (one, other) in enumerate(pairwise(sizes)):
        lines.append(f"a{place} = Gemm({before}, w{place}[{one},{other}], b{place}[{other}])")
        before = f"r{place}"
        lines.append(f"{before} = Relu(a{place})" if place < len(sizes) - 2 else f"y = Identity(a{place})")
    return f"x[N,{sizes[0]}] -> y {{ {'; '.join(lines)} }}"


def one_conv(channels: int, filters: int, size: int, k: int = 3, stride: int = 1) -> str:
    """Three convolutions of one kind, after one that makes as many channels."""
    lines = [f"s = Conv(x, v[{channels},3,1,1]); a = Relu(s)"]
    for place in range(3):
        c, f = (channels, filters) if place % 2 == 0 else (filters, channels)
        step = stride if place == 0 else 1
        lines.append(
            f"c{place} = Conv({'a' if place == 0 else f'r{place - 1}'}, w{place}[{f},{c},{k},{k}], b{place}[{f}], "
            f"strides=[{step},{step}], pads={[k // 2] * 4}); r{place} = Relu(c{place})"
        )
    return f"x[N,3,{size},{size}] -> y {{ {'; '.join(lines)}; y = GlobalAveragePool(r2) }}"


@dataclass(frozen=True)
class Entry:
    """A network, the share of its weights that go, its batch, and how many times as fast as dense and as ONNX Runtime."""

    graph: Graph
    zeros: float
    batch: int = 1
    dense: float = 1.0
    onnxruntime: float = 0.0
    width: int = 8


def entries() -> dict[str, Entry]:
    """All networks."""
    lenet, wide = parse(mlp(784, 300, 100, 10)), parse(mlp(784, 1024, 1024, 10))
    return {
        "LeNet-300-100": Entry(lenet, 0.92, 1, dense=3.5),
        "784-1024-1024-10": Entry(wide, 0.92, 1, dense=3.5),
        "LeNet-300-100, batch 64": Entry(lenet, 0.92, 64, onnxruntime=3.5),
        "784-1024-1024-10, batch 64": Entry(wide, 0.92, 64, onnxruntime=3.5),
        "784-1024-1024-10, single weights, batch 64": Entry(wide, 0.92, 64, width=1),
        "3×3 64→64, 56²": Entry(parse(one_conv(64, 64, 56)), 0.9, dense=1.5),
        "3×3 128→128, 28²": Entry(parse(one_conv(128, 128, 28)), 0.9, dense=1.5),
        "3×3 512→512, 7²": Entry(parse(one_conv(512, 512, 7)), 0.9, dense=1.5),
        "1×1 64→256, 56²": Entry(parse(one_conv(64, 256, 56, 1)), 0.9, dense=1.5),
        "ResNet-18": Entry(resnet18(), 0.9, dense=1.5),
        "ResNet-18, single weights": Entry(resnet18(), 0.9, width=1),
        "ResNet-18, 60 %": Entry(resnet18(), 0.6),
    }


@contextmanager
def without_sparse_kernels() -> Iterator[None]:
    """All layers dense."""
    with patch.object(convolutions, "sparse", lambda *given: None), patch.object(backend, "_LAST", Last()):
        yield


def raced(name: str, entry: Entry, folder: Path) -> tuple[str, bool]:
    """A row of the table, and whether it misses no bar."""
    compiler = Compiler.of("x86-avx2", {"threads": 1})
    options = f"scalpel{{sparsity={entry.zeros},level=low,width={entry.width}}}"
    graph = pruneir.optimize(compiler.prepared(entry.graph), [options], target="x86-avx2", verify=False).graph
    ((x, shape),) = input_sizes(graph, entry.batch).items()
    fixed = with_input_shapes(graph, {x: shape})
    small = entry.batch == 1 and len(shape) == 2
    given = graph if small else fixed
    sparse = compiler.compile(given, folder / "sparse").artifact
    with without_sparse_kernels():
        plain = compiler.compile(given, folder / "dense").artifact
    running = session(fixed, threads=1, optimize="all")
    random = np.random.default_rng(0)
    feeds = {x: random.standard_normal(shape, np.float32)}
    many = 200 if small else 1
    long = {x: np.repeat(feeds[x], many, axis=0)}
    (wanted,) = running.run(None, feeds)
    (got,) = sparse.run(feeds).values()
    error = float(np.abs(got - wanted).max() / np.abs(wanted).max())
    ours, theirs, ort = taken([lambda: sparse.run(long), lambda: plain.run(long), lambda: running.run(None, feeds)])
    ours, theirs = ours / many, theirs / many
    missed = [
        *(["dense"] if theirs < entry.dense * ours * (0.97 if entry.dense == 1 else 1) else []),
        *(["ONNX Runtime"] if ort < entry.onnxruntime * ours else []),
        *(["error"] if error > 1e-4 else []),
    ]
    chosen = [each["schedule"] for each in sparse.manifest.details["layers"] if each["macs"]]
    left_out = sum(each.startswith("CSR") for each in chosen)
    row = (
        f"| {name} | {entry.zeros:.0%} | {left_out} of {len(chosen)} | {ours:.4f} | {theirs:.4f} | {ort:.4f} |"
        f" {theirs / ours:.2f} | {ort / ours:.2f} | {error:.0e} |{' ! ' + ', '.join(missed) if missed else ''}"
    )
    return row, not missed


def taken(runners: list[Callable[[], object]]) -> list[float]:
    """The ms that this thread computes in each: medians of runs in turns. What else the machine does counts little."""
    found: list[list[float]] = [[] for _ in runners]
    counts = [1 for _ in runners]
    for turn in range(ROUNDS + 1):
        for place, runner in enumerate(runners):
            start = thread_time()
            for _ in range(counts[place]):
                runner()
            ms = 1e3 * (thread_time() - start) / counts[place]
            if turn == 0:
                counts[place] = max(1, round(TURN / ms))
            else:
                found[place].append(ms)
    return [median(ms) for ms in found]


def main() -> int:
    """Print the tables, each row as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["kernels", "networks"], choices=["kernels", "networks"])
    parser.add_argument("--networks", nargs="+", default=[""], help="parts of their names")
    parser.add_argument("--layers", nargs="+", default=[""], help="parts of their names")
    parser.add_argument("--estimated", nargs="*", choices=PROCESSORS, help="without names: all")
    parser.add_argument("--mca", default="llvm-mca", help="the program; what knows Zen 4 is of LLVM 16 or later")
    parser.add_argument("--plot", help="an image of the curves; needs matplotlib")
    parser.add_argument("--repeats", type=int, default=12)
    options = parser.parse_args()
    if options.estimated is not None and which(options.mca) is None:
        parser.error(
            f"--estimated needs {options.mca}; install LLVM, such as by apt install llvm-19, or name it by --mca"
        )
    if "kernels" in options.only:
        layers = {name: g for name, g in LAYERS.items() if any(part in name for part in options.layers)}
        asked = options.estimated if options.estimated != [] else [*PROCESSORS]
        kernels(layers, options.repeats, asked or [], options.mca, options.plot)
    met = True
    if "networks" in options.only:
        print(
            "\n| network | zeros | sparse layers | ours, ms | dense, ms | ONNX Runtime, ms | × dense | × ONNX Runtime | error |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for name, entry in entries().items():
            if not any(part in name for part in options.networks):
                continue
            with TemporaryDirectory(prefix="pruneir-") as folder:
                row, fine = raced(name, entry, Path(folder))
                print(row, flush=True)
                met &= fine
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
