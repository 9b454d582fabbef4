"""What sparse kernels cost, in cycles of one core: the constants by which layers choose their format.

`python tests/benchmarks/sparse_x86_kernels.py` measures kernels of many shapes and prints the constants anew. They are
of AVX2 on Zen 3, rounded from several runs; AVX-512 is counted by the same, with vectors twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass

from pruneir.backends.x86.tiling import Geometry

_L1 = 32 * 1024
_LINE = 16
"""Floats of a line of cache."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Cycles.

    operation  of an instruction in a sum of groups
    group      instructions of a group beside its loads and products
    tile       of a tile and a panel of groups, once
    vector     of a vector that is finished and written
    run        of a range of groups, where taps may lie outside the image
    load       of a vector of points that is loaded and multiplied
    weight     of a single weight, once for the vectors of points that it is multiplied with
    row        of a filter and the points that are summed at once
    turned     of a vector that is turned from points to channels, finished and written
    copied     of a number that is copied
    single     of a weight that is multiplied with a single point
    line       of a line that comes from the second level of cache
    """

    operation: float
    group: float
    tile: float
    vector: float
    run: float
    load: float
    weight: float
    row: float
    turned: float
    copied: float
    single: float
    line: float


COSTS = Costs(
    operation=0.28, group=3.6, tile=3.0, vector=7.0, run=8.0,
    load=1.0, weight=0.3, row=7.0, turned=4.0, copied=0.4, single=1.4, line=3.8,
)  # fmt: skip


def tile_cycles(g: Geometry, points: int, vectors: int, terms: float, runs: int) -> float:
    """Of a register tile and a panel of groups.

    terms  groups that the panel stores, in the mean
    runs   ranges that they are summed in
    """
    products = COSTS.operation * (points * (1 + vectors) + vectors + COSTS.group)
    start = COSTS.tile + COSTS.vector * points * vectors + COSTS.run * runs
    return max(terms * products, COSTS.line * _lines(g, points, terms)) + start


def row_cycles(terms: float, vectors: int, lanes: int, copy: int) -> float:
    """Of a filter that stores so many weights, for vectors of points that are summed at once.

    copy  bytes of the copy that they read
    """
    lines = COSTS.line * missing(copy) * vectors * lanes / _LINE
    return terms * max(COSTS.load * vectors + COSTS.weight, lines) + COSTS.row


def missing(size: float) -> float:
    """The share of reads, of so many bytes that are read again and again, that the first level of cache has not."""
    return min(1.0, max(0.0, 2 * (size / _L1 - 0.5)))


def _lines(g: Geometry, points: int, terms: float) -> float:
    """Lines of cache that a tile reads of the image and that the first level does not hold."""
    columns = min((g.kw - 1) * g.dw + 1 + (points - 1) * g.sw, points * g.kw)
    lines = g.kh * columns * g.ic / _LINE
    density = min(1.0, terms / (g.kh * g.kw * g.ic))
    readers = points * g.kw / columns  # taps that read a line
    return lines * missing(4 * _LINE * lines) * (1 - (1 - density) ** (_LINE * readers))
