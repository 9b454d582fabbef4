"""Columns of weights without their zeros, and which of all ways skips inputs in the fewest instructions.

Weights of `width` consecutive filters are a group; those of a column that are not all zero are stored, with the
distance of their sums. Width 1 is known as compressed sparse columns. Filters may be divided into blocks, computed one
after the other in the memory of one: each looks at all inputs again.

What a layer executes depends on how many of its inputs are zero: of n, all but the k winners are, whatever the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from pruneir.backends.cortex_m import choose
from pruneir.backends.cortex_m.assembly.nest import TooLarge
from pruneir.backends.cortex_m.assembly.scatter import SHIFTS, Scatter, Scattered
from pruneir.backends.cortex_m.inputs import Layer
from pruneir.backends.cortex_m.sparse import NEAR, density
from pruneir.sparsity.formats import filled

WIDEST = 16
"""Filters of a group at most."""
DOUBT = 1 / 8
"""How much less it must cost to skip inputs: more than the rate may differ from sample to sample."""
_HARDLY, _FEW = 1 / 16, 256
"""How much more it may cost to need less memory, and sums that take too little to save any."""
_BLOCKS = 8
"""Blocks at most."""
_LARGER = 1 / 4
"""How many more bytes the weights may take."""
_STORED = 8
"""Instructions for each sum behind: it is loaded, finished and stored in C."""
Write = Callable[[str, Scatter], Scattered]


@dataclass(frozen=True)
class Way:
    """How a layer is computed: by blocks of filters, `part` being the layer of one, and a micro-kernel."""

    part: Layer
    blocks: int
    scatter: Scatter

    def pack(self, weights: np.ndarray) -> np.ndarray:
        """uint8: where each block begins, then the blocks."""
        count, stride = self.part.filters
        made = [self._block(weights.ravel()[block * count * stride :]) for block in range(self.blocks)]
        starts = 4 * self.blocks + np.cumsum([0, *map(len, made)])[:-1]
        return np.frombuffer(starts.astype(np.uint32).tobytes() + b"".join(made), np.uint8)

    def _block(self, weights: np.ndarray) -> bytes:
        """Where each column begins, then the columns; those without any weights are the last one."""
        width = self.scatter.width
        groups, places = grouped(self.part.weights(weights), width), self.part.distances(width)
        there = (groups != 0).any(axis=2)
        kept = there.any(axis=1)
        columns = [self._column(groups[i][there[i]], places[there[i]]) for i in np.flatnonzero(kept)]
        begins = np.cumsum([0, *map(len, columns)])[np.where(kept, np.cumsum(kept) - 1, len(columns))]
        if not kept.all():
            columns.append(self._column(groups[0][:0], places[:0]))
        starts = begins + 4 * np.arange(len(groups), 0, -1)
        return starts.astype(np.uint32).tobytes() + b"".join(columns)

    def _column(self, groups: np.ndarray, distances: np.ndarray) -> bytes:
        """Turns, distances, weights: a turn is filled up with zeros for the sums of the last group, so that inputs that
        are no numbers reach no sum that they have no part in.
        """
        unroll = self.scatter.unroll
        turns = -(-len(groups) // unroll)
        assert turns or self.scatter.gaps
        more = turns * unroll - len(groups)
        places = np.pad(distances, (0, more), mode="edge").astype(np.uint32 if unroll == 1 else np.uint16).tobytes()
        values = filled(groups, (len(groups) + more, groups.shape[1])).astype(np.float32).tobytes()
        return np.uint32(turns).tobytes() + places.ljust(turns << SHIFTS[unroll], b"\0") + values


@dataclass(frozen=True)
class Cost:
    """What a layer takes with some weights: instructions, and bytes of these as they are stored."""

    instructions: int
    nbytes: int


@dataclass(frozen=True)
class Skipped:
    """A way to skip inputs, and what it takes with each of the weights."""

    way: Way
    costs: tuple[Cost, ...]

    @property
    def instructions(self) -> int:
        """In total."""
        return sum(cost.instructions for cost in self.costs)

    def pays(self, others: Sequence[Cost]) -> bool:
        """Whether it takes fewer instructions than another way, by more than it may be wrong."""
        both = zip(self.costs, others, strict=True)
        return all(own.instructions < (1 - DOUBT) * other.instructions for own, other in both)

    def fits(self, others: Sequence[Cost]) -> bool:
        """Whether weights take hardly more bytes than another way's."""
        both = zip(self.costs, others, strict=True)
        return all(own.nbytes <= (1 + _LARGER) * other.nbytes for own, other in both)

    def described(self, rate: float, weights: Sequence[np.ndarray]) -> str:
        """What a table says of it."""
        there = density(weights)
        return f"winners, {self.way.scatter}{f', {there:.1%}' if there < 1 else ''}, {rate:.0%} of inputs"


def best(
    layer: Layer,
    weights: Sequence[np.ndarray],
    rates: Sequence[float],
    others: Sequence[Cost],
    write: Write,
    lanes: Sequence[int],
) -> Skipped | None:
    """Of the ways with hardly more instructions than the fewest that with the least memory; None where there is none.

    weights  of all calls of a function
    rates    the share of inputs that are not zero, of each
    others   what the best way takes that skips no inputs, of each
    lanes    weights of a vector, of the vectors that a processor has
    """
    if any(not np.isfinite(each).all() for each in weights):
        return None
    there = [layer.weights(each != 0) for each in weights]
    ways = (Skipped(way, _costs(way, counts, rates, write)) for way, counts in _ways(layer, there, lanes))
    found = [each for each in ways if each.costs and each.fits(others)]
    least = min((each.instructions for each in found), default=0)
    near = [each for each in found if each.instructions <= (1 + _HARDLY) * least]
    choice = min(near, key=lambda each: (max(each.way.scatter.room, _FEW), each.instructions), default=None)
    return choice if choice is not None and choice.pays(others) else None


def grouped(weights: np.ndarray, width: int) -> np.ndarray:
    """Weights `[columns, slots, filters]` as groups `[columns, groups, width]`, filled up with zeros."""
    columns, slots, filters = weights.shape
    return filled(weights, (columns, slots, filters + -filters % width)).reshape(columns, -1, width)


def _ways(layer: Layer, there: Sequence[np.ndarray], lanes: Sequence[int]) -> Iterator[tuple[Way, list[np.ndarray]]]:
    """Every way, and how many groups each column of each block has, of each of the weights.

    there  whether they are not zero, bool `[columns, slots, filters]`
    """
    filters, stride = layer.filters
    for blocks in (each for each in range(1, _BLOCKS + 1) if filters % each == 0):
        part = Layer(layer.axes, (filters // blocks, stride))
        split = [np.concatenate(np.split(each, blocks, axis=2)) for each in there]
        for width in range(1, min(part.filters[0] + 3, WIDEST) + 1):
            far = int(part.distances(width).max())
            counts = [grouped(each, width).any(axis=2).sum(axis=1) for each in split]
            gaps = any((each == 0).any() for each in counts)
            for unroll, vector in product(SHIFTS, lanes):
                if width % vector == 0 and (unroll == 1 or far < NEAR):
                    scatter = Scatter(part.loops(width), part.room(width), width, unroll, vector, gaps)
                    yield Way(part, blocks, scatter), counts


def _costs(way: Way, counts: Sequence[np.ndarray], rates: Sequence[float], write: Write) -> tuple[Cost, ...]:
    """What a layer takes with each of the weights; none if the micro-kernel cannot be written."""
    try:
        written = write("", way.scatter)
    except TooLarge:
        return ()
    a_block = written.instructions + choose.CALL + _STORED * way.part.outputs
    a_turn = (1 << SHIFTS[way.scatter.unroll]) + 4 * way.scatter.unroll * way.scatter.width
    found = []
    for each, rate in zip(counts, rates, strict=True):
        turns = -(-each // way.scatter.unroll)
        an_input = written.hit + written.turn * float(turns.mean())
        instructions = round(way.blocks * (a_block + rate * way.part.inputs * an_input))
        blocks = each.reshape(way.blocks, -1)
        stored = int(turns.sum()) * a_turn + 4 * int(np.count_nonzero(each))
        stored += 4 * int(np.count_nonzero((blocks == 0).any(axis=1)))
        found.append(Cost(instructions, 4 * way.blocks + 4 * each.size + stored))
    return tuple(found)
