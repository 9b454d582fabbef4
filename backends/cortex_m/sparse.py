"""Weights without their zeros: how they lie for a micro-kernel, and which of all ways executes the fewest instructions.

A layer's weights are a matrix, filters × terms. Each panel of filters keeps the terms for which one of its filters has
a weight; wider panels read fewer inputs for a weight, and keep more zeros. Panels as wide as the groups in which a
network was pruned keep none, width 1 is plain CSR, and blocks of neighbouring terms are BSR. What each of them would
execute is known before it is run, from the weights and from what writes the micro-kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pruneir.backends.cortex_m import choose
from pruneir.backends.cortex_m.assembly.nest import Nest, Stream, TooLarge
from pruneir.backends.cortex_m.packing import Packing
from pruneir.backends.cortex_m.schedule import Tile
from pruneir.sparsity.formats import Panels, filled, panels

WIDEST, UNROLLED, BLOCKS = 16, (1, 2, 4, 8), (1, 2, 4)
"""Filters of a panel at most; groups that a turn of the loop takes; neighbouring terms that are one group."""
_FEW = 1 / 16
"""The share of zeros below which no way is looked for."""
TERMS = ((1, 0),)
"""The loops of a nest whose terms are in the stream."""
DOUBT = 1 / 32
"""How much less it must cost to leave zeros out, for what surrounds tiles is estimated."""
NEAR = 1 << 16
"""Bytes within which distances of 2 bytes lie."""


@dataclass(frozen=True)
class Terms:
    """The terms of a sum: where each lies, in order of the inputs.

    loops    length, stride in the weights and stride in the inputs of each loop over terms
    filters  how many there are, and their stride in the weights
    """

    loops: tuple[tuple[int, int, int], ...]
    filters: tuple[int, int]

    @cached_property
    def distances(self) -> np.ndarray:
        """Of inputs, in elements, rising."""
        found: np.ndarray = self._places(2)[self._order]
        return found

    def matrix(self, weights: np.ndarray) -> np.ndarray:
        """`[filters, terms]`."""
        count, stride = self.filters
        found: np.ndarray = weights.ravel()[np.arange(count)[:, None] * stride + self._places(1)[self._order]]
        return found

    @property
    def plain(self) -> bool:
        """Whether no two terms read the same input, and none before the first."""
        return bool(self.distances[0] >= 0 and (np.diff(self.distances) > 0).all())

    @property
    def wide(self) -> bool:
        """Whether 2 bytes are too few for distances."""
        return bool(4 * self.distances[-1] >= NEAR)

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._places(2), kind="stable")

    def _places(self, which: int) -> np.ndarray:
        found = np.zeros(1, np.int64)
        for loop in self.loops:
            found = (found[:, None] + np.arange(loop[0]) * loop[which]).ravel()
        return found


@dataclass(frozen=True)
class StreamPacking:
    """How weights become a stream."""

    terms: Terms
    stream: Stream

    def pack(self, weights: np.ndarray) -> np.ndarray:
        """The stream, uint8: where distances begin, all weights, turns and distances of each panel."""
        kept, stream = self.compressed(weights), self.stream
        (outputs, _), kind = kept.shape, np.dtype(np.uint32 if stream.wide else np.uint16)
        starts, places = kept.starts.astype(np.int64), kept.places
        values, distances = [], []
        for panel, turns in enumerate(_turns(np.diff(starts), stream.unroll)):
            first, behind = starts[panel], starts[panel + 1]
            width = min(stream.width, outputs - panel * stream.width)
            more = turns * stream.unroll - (behind - first)
            lanes = -width % stream.lanes
            shape = (behind - first + more, stream.block, width + lanes)
            values.append(filled(kept.values[first:behind, :, :width], shape).ravel())
            head = np.array(turns, stream.head).tobytes()
            distances += [head, filled(4 * places[first:behind], shape[:1]).astype(kind).tobytes()]
        numbers = np.concatenate(values).astype(np.float32).tobytes()
        return np.frombuffer(np.uint32(len(numbers)).tobytes() + numbers + b"".join(distances), np.uint8)

    def compressed(self, weights: np.ndarray) -> Panels:
        """The weights without their zeros."""
        return panels(self.terms.matrix(weights), self.stream.width, self.stream.block, offsets=self.terms.distances)


@dataclass(frozen=True)
class Choice:
    """A way without zeros.

    tile     its tile
    packing  how the weights lie
    costs    instructions of all tiles for each of the weights
    fits     whether it takes fewer bytes than the weights with their zeros
    """

    tile: Tile
    packing: StreamPacking
    costs: tuple[int, ...]
    fits: bool

    @property
    def stream(self) -> Stream:
        """As a micro-kernel reads them."""
        return self.packing.stream

    def pays(self, dense: int) -> bool:
        """Whether it is better than `dense` instructions, by more than both counts may be wrong."""
        return all(cost + choose.CALL < (1 - DOUBT) * dense for cost in self.costs)

    def described(self, weights: Sequence[np.ndarray]) -> str:
        """What a table says of it: the format, the share of entries that are not zero, the tile."""
        return f"{self.stream}, {density(weights):.1%}, tile {self.stream.width}×{self.tile.points}"


def density(weights: Sequence[np.ndarray]) -> float:
    """The share of all entries that are not zero."""
    return sum(int(np.count_nonzero(each)) for each in weights) / sum(each.size for each in weights)


def has_zeros(weights: np.ndarray) -> bool:
    """Whether so many are zero that it may pay to leave them out."""
    return bool(np.count_nonzero(weights) <= (1 - _FEW) * weights.size)


def terms(nest: Nest, packing: Packing | StreamPacking | None, filters: int) -> Terms:
    """The terms of a nest as it is where all weights are there."""
    assert isinstance(packing, Packing)
    loops = zip(packing.inner, nest.reduction, strict=True)
    return Terms(tuple((n, at_w, at_x) for (n, at_w), (_, at_x) in loops), (filters, packing.filter_stride))


def ways(
    nest: Nest,
    terms: Terms,
    points: int,
    weights: Sequence[np.ndarray],
    write: choose.Write,
    lanes: Sequence[int] = (1,),
) -> list[Choice]:
    """Of plain CSR, of groups and of blocks the way with the fewest instructions for some weights of the same shape.

    Only plain CSR is there even if it takes no fewer bytes than the weights with their zeros.

    nest    a tile, as it is where all weights are there; of one point where tiles may have no more
    points  how many there are in a row
    lanes   filters of a vector, of the vectors that a processor has
    """
    if (
        nest.finish is None
        or not terms.filters[1]
        or not terms.plain
        or any(not np.isfinite(each).all() for each in weights)
    ):
        return []
    matrices = [terms.matrix(each) for each in weights]
    found = [
        Choice(Tile(terms.filters[0], p), StreamPacking(terms, stream), costs, fits)
        for stream, turns in streams(matrices, terms, lanes)
        if (fits := smaller(stream, turns, terms)) or stream.width == stream.block == 1
        for p in range(1, min(points if nest.points > 1 else 1, choose.MOST // stream.width) + 1)
        if points % p == 0 and (costs := _costs(nest, Tile(terms.filters[0], p), stream, points // p, turns, write))
    ]
    least: dict[tuple[bool, bool], Choice] = {}
    for each in sorted(found, key=lambda each: (not each.fits, sum(each.costs))):
        least.setdefault(_kind(each.stream), each)
    return [least[kind] for kind in sorted(least)]


def best(found: Sequence[Choice], dense: int) -> Choice | None:
    """The way with the fewest instructions, if that is better than dense tiles of so many."""
    choice = min((each for each in found if each.fits), key=lambda each: sum(each.costs), default=None)
    return choice if choice is not None and choice.pays(dense) else None


def _kind(stream: Stream) -> tuple[bool, bool]:
    """What formats are told apart by: whether they have blocks, and if not, whether they have groups."""
    return stream.block > 1, stream.block == 1 and stream.width > 1


def smaller(stream: Stream, turns: Sequence[np.ndarray], terms: Terms) -> bool:
    """Whether the weights take fewer bytes without their zeros than with them."""
    filters, size = terms.filters[0], terms.distances.size
    widths = np.full(len(turns[0]), stream.width)
    widths[-1] -= -filters % stream.width
    group = 4 * stream.block * (widths + -widths % stream.lanes) + (4 if stream.wide else 2)
    start, head = 4, stream.head.itemsize
    stored = sum(start + int((head + each * stream.unroll * group).sum()) for each in turns)
    return stored < len(turns) * 4 * filters * size


def streams(
    matrices: Sequence[np.ndarray], terms: Terms, lanes: Sequence[int]
) -> Iterator[tuple[Stream, list[np.ndarray]]]:
    """Every way that the weights can lie, and how often the loop of each panel turns, of each of the matrices."""
    filters, wide = terms.filters[0], terms.wide
    touching = bool((np.diff(terms.distances) == 1).all())
    there = [matrix != 0 for matrix in matrices]
    for block in BLOCKS if touching and terms.distances.size > 1 else (1,):
        if terms.distances.size % block:
            continue
        blocks = [each.reshape(filters, -1, block).any(2) for each in there]
        for width in range(1, min(filters, WIDEST) + 1):
            rows = np.arange(0, filters, width)
            counts = [np.logical_or.reduceat(each, rows, axis=0).sum(axis=1) for each in blocks]
            for unroll in UNROLLED:
                turns = [_turns(each, unroll) for each in counts]
                for vector in lanes:
                    if width % vector == 0 or width == filters:
                        yield Stream(width, unroll, wide, block, vector), turns


def _turns(groups: np.ndarray, unroll: int) -> np.ndarray:
    """How often each loop turns: once for no group at all."""
    return np.maximum(-(-groups // unroll), 1)


def _costs(
    nest: Nest, tile: Tile, stream: Stream, tiles: int, turns: list[np.ndarray], write: choose.Write
) -> tuple[int, ...]:
    """Instructions of all tiles for each of the weights; none if the micro-kernel cannot be written."""
    one = replace(nest, filters=tile.filters, points=tile.points, reduction=TERMS, steps=(), stream=stream)
    try:
        written = write("", one)
    except TooLarge:
        return ()
    whole = tile.filters // stream.width
    around = written.instructions + (choose.LOOP - written.around if nest.steps else choose.CALL)
    parts = [part for part in (slice(0, whole), slice(whole, None)) if len(turns[0][part])]
    return tuple(
        tiles * (around + sum(int(each[part].sum()) * n for part, n in zip(parts, written.turns, strict=True)))
        for each in turns
    )
