"""Sparse kernels of x86 by the share of zeros: times as fast as the dense kernel of the layer, measured or estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from benchmarks.sparse_x86_kernels import Case, Kernel, conv, layer, least_cycles, weights
from benchmarks.x86_processors import Processor
from benchmarks.x86_traces import trace

from pruneir.backends.x86.cpu import X86Cpu
from pruneir.backends.x86.dense import dense
from pruneir.backends.x86.sparse_groups import groups
from pruneir.backends.x86.sparse_rows import rows
from pruneir.backends.x86.tiling import Geometry
from support.zeros import break_even

LAYERS = {
    "dense layer 784→300": layer(784, 300), "dense layer 1024→1024": layer(1024, 1024),
    "dense layer 1024→1024, 64 rows": layer(1024, 1024, 64),
    "3×3 64→64, 56²": conv(64, 64, 56), "3×3 256→256, 14²": conv(256, 256, 14), "3×3 512→512, 7²": conv(512, 512, 7),
    "3×3/2 64→128, 56²": conv(64, 128, 56, 3, 2), "1×1 256→64, 56²": conv(256, 64, 56, 1),
}  # fmt: skip
ZEROS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
Curves: TypeAlias = dict[str, list[float]]
"""Of one layer: dense by sparse cycles for every share of zeros, by format."""
Make: TypeAlias = Callable[[Geometry, np.ndarray, int], Kernel | None]


def formats(lanes: int) -> dict[str, tuple[Make, int]]:
    """What makes the kernels of each, and how many filters are zero together; for vectors of so many floats."""
    return {f"CSR in {lanes}s": (groups, lanes), "CSR": (rows, 1)}


def curves(g: Geometry, lanes: int, taken: Callable[[Mapping[str, Case]], Mapping[str, float]]) -> Curves:
    """Of one layer; `taken` says the cycles of kernels."""
    cases = {"dense": Case(dense(g, lanes), weights(g, 1.0, lanes))}
    for make, width in formats(lanes).values():
        for share in ZEROS:
            values = weights(g, 1 - share, width)
            kernel = make(g, values, lanes)
            assert kernel is not None
            cases[f"kernel_{width}_{round(100 * share)}"] = Case(kernel, values)
    found = taken(cases)
    return {
        words: [found["dense"] / found[f"kernel_{width}_{round(100 * share)}"] for share in ZEROS]
        for words, (_, width) in formats(lanes).items()
    }


def measured(g: Geometry, cpu: X86Cpu, repeats: int) -> Curves:
    """On this machine, by the least of some times."""
    return curves(g, cpu.lanes, lambda cases: least_cycles(cases, repeats, cpu))


def estimated(g: Geometry, processor: Processor, mca: str) -> Curves:
    """By models of a processor; `mca` is llvm-mca."""

    def taken(cases: Mapping[str, Case]) -> dict[str, float]:
        return {name: processor.cycles(trace(case, processor.code), mca) for name, case in cases.items()}

    return curves(g, processor.code.lanes, taken)


HEAD = f"| layer | format | {' | '.join(f'{share:.0%}' for share in ZEROS)} | at |\n{'|---' * (len(ZEROS) + 3)}|"


def lines(name: str, found: Curves) -> Iterator[str]:
    """Markdown, a line a format."""
    for words, ratios in found.items():
        yield f"| {name} | {words} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} | {_at(ratios)} |"


def _at(ratios: Sequence[float]) -> str:
    return break_even([*zip(ZEROS, ratios, strict=True)])


def agreement(found: Mapping[str, Curves], model: Mapping[str, Curves]) -> Iterator[str]:
    """Markdown: how the estimates of layers that were measured compare."""
    yield "| layer | format | estimated by measured ratio | at, measured | at, estimated |\n|---|---|---|---|---|"
    for name, formats_ in found.items():
        for words, ratios in formats_.items():
            guessed = model[name][words]
            off = [guess / ratio for guess, ratio in zip(guessed, ratios, strict=True)]
            span = f"{min(off):.2f}–{max(off):.2f}"
            yield f"| {name} | {words} | {span} | {_at(ratios)} | {_at(guessed)} |"


def plot(rows_: Mapping[str, Mapping[str, Curves]], file: str) -> None:
    """A row for each machine, a panel a format; dashed where nothing was measured."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update({"svg.hashsalt": "pruneir", "svg.fonttype": "none"})
    figure = Figure(figsize=(11, 4.2 * len(rows_)), layout="constrained")
    panels = figure.subplots(len(rows_), 2, sharex=True, sharey=True, squeeze=False)
    for place, (title, found) in enumerate(rows_.items()):
        for axes, words in zip(panels[place], next(iter(found.values())), strict=True):
            for name, of_layer in found.items():
                axes.plot(
                    [100 * share for share in ZEROS], of_layer[words], "--" if place else "-", marker=".", label=name
                )
            axes.axhline(1, color="black", linewidth=0.8)
            axes.set(title=f"{words}: {title}", yscale="log")
            axes.grid(which="both", alpha=0.3)
        panels[place][0].set_ylabel("× faster than dense")
    for axes in panels[-1]:
        axes.set_xlabel("zeros, %")
    panels[0][-1].legend(fontsize=7)
    figure.savefig(file, metadata={"Date": None})
