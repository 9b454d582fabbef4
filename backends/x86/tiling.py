"""How a dense convolution is cut into register tiles and items of work: a rule on its shape.

The output image is cut pinwheel-wise into four borders and an inside in which every tap reads the image:

    t t t t r
    l i i i r       A tile never leaves its part, so a tap that a whole border misses costs nothing there:
    l i i i r       of a 3×3 kernel on a 7×7 image that is a sixth of all products.
    l b b b b

What a tile costs is estimated from what a core does in one cycle: two multiply-adds, two loads, one step of a chain of
sums in four (Zen 3 and Skylake alike; Fog, Instruction tables), and what it gets from the second level of cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

_L1 = 24 * 1024
"""Bytes of a panel that stay in the first level of cache while tiles pass by."""
_L2_VECTORS = 0.75
"""Vectors in a cycle from the second level, measured: 24 bytes for VL = 8 on Zen 3."""
_L2 = 256 * 1024
"""Bytes of weights that stay in the second level of cache while blocks of points pass by."""
_ITEMS = 96
"""Items to cut a layer into, so that 16 threads finish together."""
_ITEM_CYCLES = 8000
"""The least that an item should take."""
_WIDE = 32
"""Input channels below which the taps of a row are summed in one run: a run of few terms does not pay its start."""

_TILES = {
    4: {(6, 4): 1.0, (8, 3): 1.0, (12, 2): 1.0, (2, 8): 1.1, (1, 8): 1.0},
    8: {(6, 2): 1.0, (4, 3): 1.02, (3, 4): 1.02, (12, 1): 1.2, (2, 6): 1.1, (1, 8): 1.0},
    16: {(12, 2): 1.0, (8, 3): 1.0, (6, 4): 1.0, (24, 1): 1.2, (4, 6): 1.0, (2, 8): 1.1, (1, 8): 1.0},
}
"""Points and vectors of a register tile, by the floats of a vector: there are 16 registers for 8, else 32. Beside each,
how much longer than estimated it takes; measured for 8."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where points lie in a larger image: the first at `row`, `column`, the others `down` and `right` from there."""

    height: int
    width: int
    row: int
    column: int
    down: int
    right: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of a convolution over NHWC images: batch, input, output, kernel, stride, dilation, padding above and left.

    What a tap reads outside the image is 0. Channels are those of one of the `groups`; `grid` is where the output's
    points lie, if not one behind another.
    """

    n: int
    ih: int
    iw: int
    ic: int
    oh: int
    ow: int
    oc: int
    kh: int = 1
    kw: int = 1
    sh: int = 1
    sw: int = 1
    dh: int = 1
    dw: int = 1
    pt: int = 0
    pl: int = 0
    groups: int = 1
    grid: Grid | None = None

    @property
    def points(self) -> int:
        """Points of the output."""
        return self.n * self.oh * self.ow

    @property
    def macs(self) -> int:
        """Products, those with padding counted too."""
        return self.points * self.groups * self.oc * self.kh * self.kw * self.ic

    @property
    def is_point(self) -> bool:
        """Whether it is a matrix by a vector."""
        return (self.points, self.kh, self.kw, self.pt, self.pl) == (1, 1, 1, 0, 0)

    def macros(self) -> dict[str, object]:
        """The sizes as templates know them."""
        names = ("ih", "iw", "ic", "oh", "ow", "oc", "kh", "kw", "sh", "sw", "dh", "dw", "pt", "pl")
        return {name.upper(): getattr(self, name) for name in names}

    def flat(self) -> Geometry:
        """The same work on one row of points, if each reads a part of the input of its own; else itself."""
        size, out, kernel = (self.ih, self.iw), (self.oh, self.ow), (self.kh, self.kw)
        alone = kernel == (1, 1) and (self.sh, self.sw) == (1, 1) and size == out
        whole = kernel == size and out == (1, 1) and (self.dh, self.dw) == (1, 1) and self.groups == 1
        if (self.pt, self.pl) != (0, 0) or self.grid is not None or not (alone or whole):
            return self
        channels = self.ic * self.kh * self.kw
        return Geometry(1, 1, self.points, channels, 1, self.points, self.oc, groups=self.groups)


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of output points, in lines that are cut into tiles as even as can be.

    down   whether lines are columns
    tiles  of each line
    """

    row: int
    column: int
    height: int
    width: int
    down: bool
    tiles: int

    @property
    def lines(self) -> int:
        """Rows, or columns."""
        return self.width if self.down else self.height

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Of a line: the points of the smaller tiles, how many tiles have one more, and how many do not."""
        size, larger = divmod(self.height if self.down else self.width, self.tiles)
        return size, larger, self.tiles - larger


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a convolution is computed.

    lanes    floats in a vector
    points   of a register tile, at most
    vectors  of filters in a panel of weights
    parts    of each output image
    images   how often these parts occur
    panels   of weights
    group, block   panels and tiles of one item
    step     panels for which a tile is computed before the next tile
    wide     whether the taps of a row are summed in one run
    groups   of channels
    cycles   estimated, of one core that has the weights in its second cache
    """

    lanes: int
    points: int
    vectors: int
    parts: tuple[Part, ...]
    images: int
    panels: int
    group: int
    block: int
    step: int
    wide: bool
    groups: int
    cycles: float

    @property
    def tiles(self) -> int:
        """Tiles of one image."""
        return sum(part.lines * part.tiles for part in self.parts)

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return self.groups * ceil(self.panels / self.group) * ceil(self.images * self.tiles / self.block)

    def __str__(self) -> str:
        return f"{self.points}×{self.vectors * self.lanes}"


def tiling(geometry: Geometry, lanes: int) -> Tiling:
    """The tiling of a convolution for vectors of 4, 8 or 16 floats."""
    flat = geometry.flat()
    cycles, (points, vectors), parts = min(
        (_candidate(flat, lanes, tile, cut) for tile, cut in product(_TILES[lanes], cuts(flat))), key=lambda it: it[0]
    )
    panel = 4 * flat.kh * flat.kw * flat.ic * vectors * lanes
    wide = flat.ic < _WIDE and flat.kw > 1 and flat.dw == 1 and flat.groups == 1
    return divided(flat, (points, vectors, lanes), parts, cycles, panel, wide=wide)


def divided(
    flat: Geometry, tile: tuple[int, int, int], parts: tuple[Part, ...], cycles: float, panel: int, *, wide: bool
) -> Tiling:
    """The items of a convolution.

    tile    points, vectors, lanes
    cycles  estimated, of one group of channels
    panel   bytes of a panel of weights
    """
    points, vectors, lanes = tile
    panels = ceil(flat.oc / (vectors * lanes))
    tiles = flat.n * sum(part.lines * part.tiles for part in parts)
    items = max(1, min(ceil(_ITEMS / flat.groups), round(cycles / _ITEM_CYCLES)))
    groups = ceil(panels / max(1, _L2 // panel))
    block = ceil(tiles / min(tiles, ceil(items / groups)))
    groups = max(groups, min(panels, ceil(items / ceil(tiles / block))))
    group = ceil(panels / groups)
    return Tiling(
        lanes, points, vectors, parts, flat.n, panels, group, block,
        step=max(1, min(group, _L1 // panel)), wide=wide, groups=flat.groups, cycles=flat.groups * cycles,
    )  # fmt: skip


Rectangle = tuple[int, int, int, int]
"""Row, column, height, width."""


def cuts(g: Geometry) -> tuple[tuple[Rectangle, ...], ...]:
    """Ways to cut the output image into parts: into its inside and four borders, or not at all."""
    return _inside_and_borders(g), ((0, 0, g.oh, g.ow),)


def _inside_and_borders(g: Geometry) -> tuple[Rectangle, ...]:
    top, bottom = _inside(g.oh, g.ih, g.kh, g.sh, g.dh, g.pt)
    left, right = _inside(g.ow, g.iw, g.kw, g.sw, g.dw, g.pl)
    pinwheel = (
        (0, 0, top, right),
        (0, right, bottom, g.ow - right),
        (bottom, left, g.oh - bottom, g.ow - left),
        (top, 0, g.oh - top, left),
        (top, left, bottom - top, right - left),
    )
    return tuple(part for part in pinwheel if part[2] and part[3])


def _inside(outputs: int, inputs: int, kernel: int, stride: int, dilation: int, pad: int) -> tuple[int, int]:
    """From which to before which output all taps lie inside, along one axis."""
    first = min(max(0, ceil(pad / stride)), outputs)
    end = (inputs - 1 + pad - (kernel - 1) * dilation) // stride + 1
    return first, max(first, min(end, outputs))


def _candidate(
    g: Geometry, lanes: int, tile: tuple[int, int], cut: Sequence[Rectangle]
) -> tuple[float, tuple[int, int], tuple[Part, ...]]:
    """Estimated cycles of a tiling, its tile, and its parts."""
    cycles, parts = 0.0, []
    for rectangle in cut:
        ways = ways_of(rectangle, tile[0])
        taken, part = min(((_part_cycles(part, g, lanes, tile[1]), part) for part in ways), key=lambda it: it[0])
        cycles += taken
        parts.append(part)
    return g.n * cycles * _TILES[lanes][tile], tile, tuple(parts)


def ways_of(rectangle: Rectangle, points: int) -> list[Part]:
    """A rectangle in tiles of at most so many points, along its rows or its columns."""
    _, _, height, width = rectangle
    return [Part(*rectangle, False, ceil(width / points)), Part(*rectangle, True, ceil(height / points))]


def _part_cycles(part: Part, g: Geometry, lanes: int, vectors: int) -> float:
    panels, last = divmod(ceil(g.oc / lanes), vectors)
    terms = _taps(part, g) * g.ic
    panel = 4 * lanes * terms * vectors
    size, larger, smaller = part.sizes
    tiles = ((size + 1, larger), (size, smaller))
    full = sum(count * _cycles(points, vectors, terms, panel) for points, count in tiles)
    narrow = sum(count * _cycles(points, last, terms, panel) for points, count in tiles)
    return part.lines * (panels * full + (narrow if last else 0))


def _cycles(points: int, vectors: int, terms: int, panel: int) -> float:
    """Cycles of one tile: its terms, then its start and end. `panel` is the size of its weights in bytes."""
    sums = points * vectors
    streaming = vectors / _L2_VECTORS if panel > _L1 else 0
    return terms * max(sums / 2, 4, (points + vectors) / 2, streaming) + 20 + 3 * points + 1.5 * sums


def _taps(part: Part, g: Geometry) -> int:
    return sum(reached(part, g))


def reached(part: Part, g: Geometry) -> list[bool]:
    """Whether a tap lies inside the image for some point of a part, tap by tap."""
    rows = range(part.row, part.row + part.height)
    columns = range(part.column, part.column + part.width)
    high = [any(0 <= h * g.sh - g.pt + k * g.dh < g.ih for h in rows) for k in range(g.kh)]
    wide = [any(0 <= w * g.sw - g.pl + k * g.dw < g.iw for w in columns) for k in range(g.kw)]
    return [one and other for one in high for other in wide]
