"""What a micro-kernel computes: register tiles of sums of products, as strides and lengths.

    acc[f, p] = bias[f] + Σ_r  w[r, f] · x[p · step + Σ_i r_i · stride_i]        f < filters, p < points
    out[f, p] = finish(acc[f, p])

for one tile, or for all tiles of loops over which the pointers move evenly. Without weights the inputs are summed as
they are; without terms the sums are what an operand holds.

Convolutions of any rank, stride and dilation, 1×1 and depthwise ones, and dense layers are all of this form: only the
strides differ. The weights are packed so that they are read in one stream, `filters` numbers for each r.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pruneir.backends.cortex_m.assembly.finish import Finish
from pruneir.storage import named


class TooLarge(ValueError):
    """A tile needs more registers than there are."""


@dataclass(frozen=True, slots=True)
class Written:
    """A micro-kernel: its text, the instructions that one call executes, and those of them outside of its tiles.

    turns  what is to be added where weights are a stream: for each loop over groups that there is, of whole panels and
           of what is left, the instructions of each of its turns in a panel
    """

    text: str
    instructions: int
    around: int
    turns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A loop over tiles: its length, and how far out, x, w and each operand move, in elements."""

    length: int
    moves: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """Weights without their zeros: `width` filters are a panel, which has a group of weights for some of its terms.

    For each group there is the distance of its first input in bytes, of 2 bytes, or 4 if `wide`. A panel's distances
    follow how often the loop turns, in as many bytes, or in 4 where distances come in pairs.

    block   neighbouring inputs of a group
    unroll  groups that a turn takes; 1 or even
    lanes   filters of a vector, to whole ones of which a group is filled up with zeros; 1 where filters are no vectors
    """

    width: int
    unroll: int
    wide: bool = False
    block: int = 1
    lanes: int = 1

    def __str__(self) -> str:
        return named(self.width, self.block)

    @property
    def head(self) -> np.dtype[Any]:
        """The type of what says how often a panel's loop turns."""
        return np.dtype(np.uint16 if self.unroll == 1 and not self.wide else np.uint32)


@dataclass(frozen=True, slots=True)
class Nest:
    """Tiles of `filters` × `points` sums.

    step        distance of the inputs of neighbouring points, in elements
    reduction   the loops that are summed over, outermost first: length, and stride of the input in elements
    weighted    whether inputs are multiplied by weights
    finish      what is stored; None for the sums as they are, in rows of points
    steps       loops over tiles, outermost first
    stream      how weights lie that are not all there: the filters are all of a layer's, panel by panel, and the terms
                not known
    """

    filters: int
    points: int
    step: int
    reduction: tuple[tuple[int, int], ...]
    weighted: bool = True
    finish: Finish | None = None
    steps: tuple[Step, ...] = ()
    stream: Stream | None = None

    @property
    def stored(self) -> Finish:
        """What is stored, and where."""
        return self.finish or Finish((), (), None, self.points, 1)

    @property
    def terms(self) -> int:
        """Products that one sum has."""
        count = 1
        for length, _ in self.reduction:
            count *= length
        return count

    @property
    def macs(self) -> int:
        """Multiply-adds of one tile."""
        return self.filters * self.points * self.terms

    def merged(self) -> Nest:
        """The same with loops of length 1 left out, and loops that continue each other made one."""
        loops: list[tuple[int, int]] = []
        for length, stride in self.reduction:
            if length == 1:
                continue
            if loops and loops[-1][1] == length * stride:
                loops[-1] = (loops[-1][0] * length, stride)
            else:
                loops.append((length, stride))
        return replace(self, reduction=tuple(loops) or ((1, 0),)) if self.reduction else self
