"""3×3 convolutions of stride 1 by Winograd's method.

Lavin, Gray: Fast Algorithms for Convolutional Neural Networks, CVPR 2016.

F(m×m, 3×3) takes (m+2)² products for m² points of an output channel, where the sum over taps takes 9 m²: 2.25 times as
many for m = 2, four times for m = 4. What it takes besides are the transforms of images, additions that grow with the
channels of input and output but not with their product, and weights (m+2)²/9 times as large.

The transforms evaluate and interpolate polynomials at the points 0, ±a, (±b,) ∞. The points decide the rounding error:
11/16 and 3/2 make it least among sixteenths, half of what it is with the usual 1 and 2 (for the theory: Barabasz et
al., Error Analysis and Improving the Accuracy of Winograd Convolution, 2020), and the coefficients of the transforms of
images that follow from them are exact in float32. F(6×6, 3×3), four times worse at its best points, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from pruneir.backends.x86.template import instance
from pruneir.backends.x86.tiling import Geometry

_POINTS = {2: (1.0,), 4: (0.6875, 1.5)}
"""What is interpolated at, besides 0 and ∞, with both signs."""

_TILES = {4: ((6, 4), (8, 3), (12, 2)), 8: ((6, 2), (4, 3), (12, 1)), 16: ((12, 2), (8, 3), (24, 1))}
"""Tiles and vectors held in registers, by floats in a vector."""
_BLOCK = 48
"""Tiles of an item: weights come from memory once for each block, what is transformed should stay in the cache."""
_ITEMS = 16
"""Items to cut a layer into, if it has so many panels and blocks."""
_GROUP = 8
"""The most panels of an item."""
_TRANSFORM = 10 / 3
"""Cycles in which one place of a transformed tile, a vector of channels, is made or brought back. Measured on Zen 3."""
_MEMORY = 4
"""Bytes of weights that come from memory in a cycle, with some threads at it. Measured: 5 for one thread."""
_HIDDEN = 0.55
"""Share of the lesser of products and weights that passes while the other is waited for. Measured."""


@dataclass(frozen=True, slots=True)
class Winograd:
    """How a convolution is computed.

    m        points of an output tile along each axis, 2 or 4
    lanes    floats in a vector
    channels of the input
    tiles    of all images
    points, vectors  tiles and vectors of filters of a register tile
    panels   of filters
    block, group     tiles and panels of an item
    cycles   estimated, of one core that has the weights in its second cache
    """

    m: int
    lanes: int
    channels: int
    tiles: int
    points: int
    vectors: int
    panels: int
    block: int
    group: int
    cycles: float

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return ceil(self.tiles / self.block) * ceil(self.panels / self.group)

    @property
    def scratch(self) -> int:
        """Bytes of private memory that a thread needs."""
        sums = self.group * self.vectors * self.lanes
        planes = (_step(self.block * _step(row)) for row in (self.channels, sums))
        return 4 * (self.m + 2) ** 2 * sum(planes)

    def __str__(self) -> str:
        return f"F({self.m}) {self.points}×{self.vectors * self.lanes}"


def winograd(geometry: Geometry, lanes: int, m: int) -> Winograd:
    """The cut of a convolution that F(m×m, 3×3) fits, for vectors of 4, 8 or 16 floats."""
    tiles, width = _tiles(geometry, m), ceil(geometry.oc / lanes)
    blocks = ceil(tiles / _BLOCK)
    points, vectors = min(_TILES[lanes], key=lambda tile: _product_cycles(geometry.ic, tiles, width, *tile))
    panels = ceil(width / vectors)
    group = max(1, min(_GROUP, panels, blocks * panels // _ITEMS))
    block = ceil(ceil(tiles / blocks) / points) * points
    return Winograd(m, lanes, geometry.ic, tiles, points, vectors, panels, block, group, sum(_work(geometry, lanes, m)))


def winograd_source(name: str, geometry: Geometry, cut: Winograd, finish: str) -> str:
    """A kernel `name`.

    cut     of this geometry
    finish  C of the function `<name>_finish` that takes each vector of sums, as the template calls it
    """
    g, (a, b) = geometry, (*_POINTS[cut.m], 0.0)[:2]
    macros = {
        "IMAGES": g.n, "IH": g.ih, "IW": g.iw, "IC": g.ic, "OH": g.oh, "OW": g.ow, "OC": g.oc, "PT": g.pt, "PL": g.pl,
        "M": cut.m, "POINT_A": f"{a}f", "POINT_B": f"{b}f",
        "MR": cut.points, "NV": cut.vectors, "BLOCK": cut.block, "GROUP": cut.group,
    }  # fmt: skip
    return instance("winograd.h", name, finish, macros)


def transformed(weights: np.ndarray, cut: Winograd) -> np.ndarray:
    """Weights as the kernel reads them: G g Gᵀ of each filter and channel, computed in float64.

    weights  float32 [OC, IC, 3, 3]
    gives    float32, one block of memory: for each group of panels [(m+2)², panels, IC, vectors · lanes], 0 behind the
             last filter
    """
    (filters, channels), g, width = weights.shape[:2], _filter_transform(cut.m), cut.vectors * cut.lanes
    taps = weights.transpose(2, 3, 1, 0).reshape(9, -1).astype(np.float64)
    places = (np.kron(g, g) @ taps).astype(np.float32).reshape(-1, channels, filters)
    places = np.pad(places, [(0, 0), (0, 0), (0, cut.panels * width - filters)])
    panels = places.reshape(-1, channels, cut.panels, width).transpose(0, 2, 1, 3)
    return np.concatenate([panels[:, at : at + cut.group].ravel() for at in range(0, cut.panels, cut.group)])


def worthwhile(geometry: Geometry, lanes: int) -> int | None:
    """The m by which a convolution should be computed; None where summing over taps is faster, or F(m×m) does not fit.

    Compares estimates of cycles, with weights that the last-level cache has lost since the last run of the network.
    """
    g = geometry
    if (g.kh, g.kw, g.sh, g.sw, g.dh, g.dw) != (3, 3, 1, 1, 1, 1):
        return None
    cycles = {m: _winograd_cycles(geometry, lanes, m) for m in _POINTS}
    best = min(cycles, key=lambda m: cycles[m])
    return best if cycles[best] < _direct_cycles(geometry, lanes) else None


def _filter_transform(m: int) -> np.ndarray:
    """G: the values of a filter's polynomial at the points, divided by those of Π (p - q) over the other points q."""
    points = np.array([0.0, *(sign * point for point in _POINTS[m] for sign in (1, -1))])
    others = [np.prod(point - np.delete(points, place)) for place, point in enumerate(points)]
    finite = np.vander(points, 3, increasing=True) / np.array(others)[:, None]
    return np.vstack([finite, [0, 0, 1]])


def _tiles(geometry: Geometry, m: int) -> int:
    return geometry.n * ceil(geometry.oh / m) * ceil(geometry.ow / m)


def _work(geometry: Geometry, lanes: int, m: int) -> tuple[float, float]:
    """Cycles of products and of transforms."""
    tiles, width, places = _tiles(geometry, m), ceil(geometry.oc / lanes), (m + 2) ** 2
    products = places * min(_product_cycles(geometry.ic, tiles, width, *tile) for tile in _TILES[lanes])
    return products, _TRANSFORM * places * tiles * (ceil(geometry.ic / lanes) + width)


def _winograd_cycles(geometry: Geometry, lanes: int, m: int) -> float:
    products, transforms = _work(geometry, lanes, m)
    weights = (m + 2) ** 2 * geometry.ic * ceil(geometry.oc / lanes) * lanes
    return _overlapped(products, weights) + transforms


def _direct_cycles(geometry: Geometry, lanes: int) -> float:
    """By runtime/conv.h: register tiles of twelve sums, runs over the channels of a tap, of a row of taps if few."""
    g, width = geometry, ceil(geometry.oc / lanes)
    high, wide = _inside(g.oh, g.ih, g.pt), _inside(g.ow, g.iw, g.pl)
    tiles = g.points * width / 12
    products = g.n * high * wide * g.ic * width / 2 + tiles * (44 + 8 * (3 if g.ic < 32 else 9))
    return _overlapped(products, 9 * g.ic * width * lanes)


def _overlapped(products: float, weights: int) -> float:
    """Cycles of products while so many weights come from memory."""
    memory = 4 * weights / _MEMORY
    return max(products, memory) + (1 - _HIDDEN) * min(products, memory)


def _product_cycles(channels: int, tiles: int, width: int, points: int, vectors: int) -> float:
    """Of the products at one place, with this register tile: its terms, then its start and end.

    A core does two multiply-adds in a cycle and two loads; each sum waits four cycles for the one before it.
    """
    full, rest = divmod(tiles, points)
    panels, last = divmod(width, vectors)
    return sum(
        rows * columns * (channels * max(4, height * breadth / 2, (height + breadth) / 2) + 20 + 2 * height * breadth)
        for rows, height in ((full, points), (min(rest, 1), rest))
        for columns, breadth in ((panels, vectors), (min(last, 1), last))
    )


def _inside(outputs: int, inputs: int, pad: int) -> int:
    """How often a tap lies inside the image, along one axis."""
    return sum(max(0, min(outputs, inputs + pad - tap) - max(0, pad - tap)) for tap in range(3))


def _step(floats: int) -> int:
    """Floats from row to row, as WINOGRAD_STEP of the template."""
    return 16 * (ceil(floats / 16) | 1)
