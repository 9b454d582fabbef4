"""Dense layers and convolutions whose weights are stored one by one, by filter: runtime/sparse_rows.h.

Zeros need no pattern, since vectors lie along points: a weight is multiplied with eight or sixteen points at once, of a
part of the image that was copied with points side by side (Elsen et al., Fast Sparse ConvNets, CVPR 2020, section 3).
A single point is summed number by number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil

import numpy as np

from pruneir.backends.x86 import sparse_costs
from pruneir.backends.x86.conv import place
from pruneir.backends.x86.sparse_costs import row_cycles
from pruneir.backends.x86.sparse_packing import Packed, packed
from pruneir.backends.x86.template import instance
from pruneir.backends.x86.tiling import Geometry
from pruneir.sparsity.formats import Panels, panels

_SUMS = {4: 12, 8: 12, 16: 24}
"""Vectors that are summed at once, at most, by the floats of a vector."""
_LARGEST = 256 * 1024
"""Bytes of a copy: half of the second level of cache."""
_ENTRY = 6
"""Bytes of a weight with its index."""
_HELD = 256 * 1024
"""Bytes of weights that the second level of cache holds from one block to the next."""
_AGAIN = 4
"""Bytes of weights in a cycle that come from behind it. Measured on Zen 3, with other processes at it."""
_ITEMS = 32
"""Items to cut a layer into, if it has so many panels and blocks."""


@dataclass(frozen=True, slots=True)
class Block:
    """Output points that are computed from one copy of their part of the image.

    rows, columns  of points
    vectors        of points that are summed at once
    """

    geometry: Geometry
    lanes: int
    rows: int
    columns: int
    vectors: int

    @property
    def wide(self) -> int:
        """Columns of a plane of the copy."""
        return self.columns + (self.geometry.kw - 1) * self.geometry.dw // self.geometry.sw

    @property
    def high(self) -> int:
        """Rows of a plane of the copy."""
        return self.rows + (self.geometry.kh - 1) * self.geometry.dh // self.geometry.sh

    @property
    def channel(self) -> int:
        """Floats of a channel of the copy: a plane for each remainder by the strides."""
        g = self.geometry
        return (1 if g.kh == 1 else g.sh) * (1 if g.kw == 1 else g.sw) * self.high * self.wide

    @property
    def floats(self) -> int:
        """Of the copy."""
        return self.geometry.ic * self.channel

    @property
    def tiles(self) -> int:
        """Of the points, those between the end of a row and the next counted too."""
        return ceil(((self.rows - 1) * self.wide + self.columns) / (self.vectors * self.lanes))

    @property
    def count(self) -> int:
        """Blocks of all images."""
        return self.geometry.n * ceil(self.geometry.oh / self.rows) * ceil(self.geometry.ow / self.columns)

    def offsets(self) -> np.ndarray:
        """How far a position (IC, KH, KW) lies behind the first in the copy."""
        g = self.geometry
        h, w = np.arange(g.kh) * g.dh, np.arange(g.kw) * g.dw
        down = h % g.sh * (1 if g.kw == 1 else g.sw) * self.high * self.wide + h // g.sh * self.wide
        right = w % g.sw * self.high * self.wide + w // g.sw
        return np.add.outer(np.arange(g.ic) * self.channel, np.add.outer(down, right)).ravel()

    def cycles(self, terms: float) -> float:
        """Estimated, of one group of channels; `terms` is how many weights a filter stores, in the mean."""
        g, costs = self.geometry, sparse_costs.COSTS
        vectors = ceil(g.oc / self.lanes)
        if g.is_point:
            return g.oc * (terms * costs.single + costs.tile) + vectors * costs.vector
        sums = g.oc * self.tiles * row_cycles(terms, self.vectors, self.lanes, 4 * self.floats)
        turned = vectors * self.tiles * self.vectors * self.lanes * costs.turned
        stored = _ENTRY * g.oc * terms
        again = stored / _AGAIN * (self.count - 1) if stored > _HELD else 0
        return self.count * (costs.copied * self.floats + sums + turned) + again


@dataclass(frozen=True)
class Rows:
    """The kernel of a layer.

    block   of output points
    share   panels of filters in an item
    stored  the weights of each group of channels, by offsets in the copy
    """

    block: Block
    share: int
    stored: tuple[Panels, ...]

    @property
    def geometry(self) -> Geometry:
        """Flat, where it can be."""
        return self.block.geometry

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic."""
        g = self.geometry
        return g.groups * self.block.cycles(sum(each.groups for each in self.stored) / (g.groups * g.oc))

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return self.geometry.groups * self.block.count * ceil(self._panels / self.share)

    @property
    def scratch(self) -> int:
        """Bytes of private memory that a thread needs."""
        behind = self.block.vectors * self.block.lanes * (self.block.lanes + 1)
        return 0 if self.geometry.is_point else 4 * (self.block.floats + behind)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that it reads."""
        return self._packed.nbytes

    @property
    def density(self) -> float:
        """Weights that are stored, by all weights."""
        g = self.geometry
        return sum(each.groups for each in self.stored) / (g.groups * g.oc * g.ic * g.kh * g.kw)

    def source(self, name: str, finish: str) -> str:
        """Its C."""
        g, block = self.geometry, self.block
        cut = {
            "GROUPS": g.groups, "IMAGES": g.n, "PLACE(n, h, w)": place(g),
            "ROWS": block.rows, "COLUMNS": block.columns, "TV": block.vectors, "SHARE": self.share,
        }  # fmt: skip
        return instance("sparse_rows.h", name, finish, {**g.macros(), **cut, **self._packed.macros})

    def packed(self) -> np.ndarray:
        """The weights as it reads them: bytes."""
        return self._packed.block()

    def __str__(self) -> str:
        points = 1 if self.geometry.is_point else self.block.vectors * self.block.lanes
        return f"CSR, {self.density:.1%}, tile {points}×1"

    @property
    def _panels(self) -> int:
        return ceil(self.geometry.oc / self.block.lanes)

    @cached_property
    def _packed(self) -> Packed:
        """With empty rows behind the last filter of each group of channels, as many as fill a vector."""
        return packed(self.stored, np.zeros(1, np.int64))


def rows(geometry: Geometry, weights: np.ndarray, lanes: int) -> Rows:
    """The kernel of a convolution for vectors of so many floats.

    weights  float32 [groups · OC, IC, KH, KW]
    """
    g = geometry.flat()
    if (g.kh, g.kw) != weights.shape[2:]:  # positions of the layer that was made flat: channels last
        weights = weights.transpose(0, 2, 3, 1)
    matrices = weights.reshape(g.groups, g.oc, -1)
    terms = np.count_nonzero(matrices) / (g.groups * g.oc)
    block = min(_blocks(g, lanes), key=lambda each: each.cycles(terms))
    places = block.offsets()
    order = np.argsort(places)
    filled = np.pad(matrices[:, :, order], [(0, 0), (0, -g.oc % lanes), (0, 0)])
    stored = tuple(panels(matrix, 1, offsets=places[order]) for matrix in filled)
    width = ceil(g.oc / lanes)
    shares = min(width, ceil(_ITEMS / (g.groups * block.count)))
    return Rows(block, ceil(width / shares), stored)


def _blocks(g: Geometry, lanes: int) -> Iterator[Block]:
    """Ways to cut the output image. Where no tap moves vectors, they begin at multiples of their length."""
    if g.is_point:
        yield Block(g, lanes, 1, 1, 1)
        return
    step = lanes if g.kw == 1 else 1
    parts = range(1, ceil(g.ow / lanes) + 1)
    widths = {step * ceil(g.ow / (step * count)) for count in parts} | {lanes}
    heights = {ceil(g.oh / count) for count in range(1, g.oh + 1)}
    least = True
    for rows_, columns in sorted(product(heights, widths)):
        flat = Block(g, lanes, rows_, columns, 1).tiles
        block = Block(g, lanes, rows_, columns, ceil(flat / ceil(flat / _SUMS[lanes])))
        if least or 4 * block.floats <= _LARGEST:
            least = False
            yield block
