"""Dense layers and convolutions whose weights are stored in SIMD groups: runtime/conv_sparse.h.

A group is what the filters of a panel, as many as its vectors hold, have at one position, a channel of a tap. Where all
of it is zero it is neither stored nor multiplied with (Yu et al., Scalpel, ISCA 2017, section 3.1). Parts, tiles and
items are those of dense convolutions (tiling.py); what a tile costs follows from the groups that its panels store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil

import numpy as np

from pruneir.backends.x86.conv import Tiled, conv_source
from pruneir.backends.x86.sparse_costs import tile_cycles
from pruneir.backends.x86.sparse_packing import Packed, packed
from pruneir.backends.x86.tiling import Geometry, Part, Rectangle, cuts, divided, reached, ways_of
from pruneir.backends.x86.window import behind
from pruneir.sparsity.formats import Panels, panels
from pruneir.storage import named

_SUMS = {4: 24, 8: 12, 16: 24}
"""Registers for the sums of a tile, by the floats of a vector."""


@dataclass(frozen=True)
class Groups(Tiled):
    """The kernel of a layer; its geometry is flat, where it can be.

    stored  the weights of each group of channels
    counts  how many groups a panel stores of each tap, in the mean
    """

    stored: tuple[Panels, ...]
    counts: np.ndarray

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic."""
        g, tiling = self.geometry, self.tiling
        found = (_part_cycles(each, g, tiling.lanes, tiling.vectors, self.counts) for each in tiling.parts)
        return g.groups * g.n * sum(found)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that it reads."""
        return self._packed.nbytes

    @property
    def density(self) -> float:
        """Groups that are stored, by all groups."""
        return sum(each.groups for each in self.stored) / sum(each.panels * each.shape[1] for each in self.stored)

    def source(self, name: str, finish: str) -> str:
        """Its C."""
        directions = {part.down for part in self.tiling.parts if part.sizes[0] + (part.sizes[1] > 0) > 1}
        cut = {"PADDED": int(self._is_padded), "DIRECTIONS": sum(1 << down for down in directions) or 1}
        return conv_source(name, self.geometry, self.tiling, finish, {**cut, **self._packed.macros})

    def packed(self) -> np.ndarray:
        """The weights as it reads them: bytes."""
        return self._packed.block()

    def __str__(self) -> str:
        return f"{named(self.stored[0].width)}, {self.density:.1%}, tile {self.tiling}"

    @property
    def _is_padded(self) -> bool:
        """Whether taps may lie outside the image."""
        return (self.geometry.pt, self.geometry.pl, *behind(self.geometry)) != (0, 0, 0, 0)

    @cached_property
    def _packed(self) -> Packed:
        places = offsets(self.geometry)
        return packed(self.stored, places[:: self.geometry.ic] if self._is_padded else places[:1])


def groups(geometry: Geometry, weights: np.ndarray, lanes: int) -> Groups | None:
    """The kernel of a convolution for vectors of so many floats; None where its taps overlap in memory.

    weights  float32 [groups · OC, IC, KH, KW]
    """
    g = geometry.flat()
    if (np.diff(offsets(g)) <= 0).any():
        return None
    matrices = weights.transpose(0, 2, 3, 1).reshape(g.groups, g.oc, -1)
    counts = {vectors: _counts(matrices, vectors * lanes, g) for vectors in (1, 2)}
    tiles = [(points, vectors) for vectors in counts for points in range(1, _SUMS[lanes] // vectors + 1)]
    cycles, (points, vectors), parts = min(
        (_candidate(g, lanes, tile, cut, counts[tile[1]]) for tile, cut in product(tiles, cuts(g))),
        key=lambda it: it[0],
    )
    width = vectors * lanes
    stored = tuple(panels(matrix, width, offsets=offsets(g)) for matrix in matrices)
    panel = ceil(sum(each.nbytes for each in stored) / sum(each.panels for each in stored))
    return Groups(g, divided(g, (points, vectors, lanes), parts, cycles, panel, wide=False), stored, counts[vectors])


def offsets(g: Geometry) -> np.ndarray:
    """How many floats behind the first tap a position lies, for positions (KH, KW, IC)."""
    taps = np.add.outer(np.arange(g.kh) * g.dh * g.iw, np.arange(g.kw) * g.dw)
    return np.add.outer(taps.ravel() * g.groups * g.ic, np.arange(g.ic)).ravel()


def _counts(matrices: np.ndarray, width: int, g: Geometry) -> np.ndarray:
    """Groups that are stored of each tap, in the mean of the groups of channels."""
    filled = np.pad(matrices != 0, ((0, 0), (0, -g.oc % width), (0, 0)))
    there = filled.reshape(g.groups, -1, width, g.kh * g.kw, g.ic).any(axis=2)
    return np.asarray(there.sum(axis=(0, 1, 3)) / g.groups)


def _candidate(
    g: Geometry, lanes: int, tile: tuple[int, int], cut: Sequence[Rectangle], counts: np.ndarray
) -> tuple[float, tuple[int, int], tuple[Part, ...]]:
    """Estimated cycles of a tiling for one group of channels, its tile, and its parts."""
    cycles, parts = 0.0, []
    for rectangle in cut:
        ways = ways_of(rectangle, tile[0])
        costs = [_part_cycles(part, g, lanes, tile[1], counts) for part in ways]
        taken, part = min(zip(costs, ways, strict=True), key=lambda it: it[0])
        cycles += taken
        parts.append(part)
    return g.n * cycles, tile, tuple(parts)


def _part_cycles(part: Part, g: Geometry, lanes: int, vectors: int, counts: np.ndarray) -> float:
    taps = reached(part, g)
    count = ceil(g.oc / (vectors * lanes))
    terms, runs = float(counts[taps].sum()) / count, 0 if all(taps) else sum(taps)
    size, larger, smaller = part.sizes
    tiles = [(points, often) for points, often in ((size + 1, larger), (size, smaller)) if often]
    return part.lines * count * sum(often * tile_cycles(g, points, vectors, terms, runs) for points, often in tiles)
