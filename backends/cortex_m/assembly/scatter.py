"""What a micro-kernel computes that skips inputs: any that is not zero is multiplied with its column of weights.

    void NAME(float *sums, const float *x, const void *columns, int block)                        r0, r1, r2, r3

    sums ← 0; for inputs: if x ≠ 0: for groups of its column: sums[distance …] += x · weights of the group

The inputs lie one behind the other; each of the loops over them moves sums and columns. A column is groups of weights
of `width` neighbouring sums, of which a turn of the loop takes `unroll`. Filters may be divided into blocks, each with
sums and columns of its own:

    columns    of each block, how many bytes behind the first word it begins
    a block    of each column, how many bytes from this word it begins
    a column   turns, which may be none, then the distances of all groups, then the weights of all

Distances are in bytes, of 2 bytes, or of 4 where a turn is one group. -0 is zero, NaN is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pruneir.storage import named

SHIFTS = {1: 2, 2: 2, 4: 3, 8: 4}
"""Bytes of the distances of a turn, as a power of two, by its groups."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over inputs: its length, and how far it moves sums and columns, in words."""

    length: int
    sums: int
    columns: int

    @property
    def whole(self) -> tuple[int, int]:
        """How far it moves them in all."""
        return self.length * self.sums, self.length * self.columns


@dataclass(frozen=True, slots=True)
class Scatter:
    """What a micro-kernel computes.

    loops   over the inputs, outermost first
    room    how many sums are cleared at first
    width   weights of a group
    unroll  groups of a turn, 1, 2, 4 or 8
    lanes   weights of a vector; 1 where there are none
    gaps    whether some columns have no groups
    """

    loops: tuple[Loop, ...]
    room: int
    width: int
    unroll: int
    lanes: int = 1
    gaps: bool = True

    def __str__(self) -> str:
        return named(self.width, 0)

    def merged(self) -> Scatter:
        """The same with loops of length 1 left out, and loops that continue each other made one."""
        found: list[Loop] = []
        for loop in self.loops:
            if found and (found[-1].sums, found[-1].columns) == loop.whole:
                found[-1] = replace(loop, length=found[-1].length * loop.length)
            elif loop.length > 1:
                found.append(loop)
        return replace(self, loops=tuple(found) or (Loop(1, 0, 0),))


@dataclass(frozen=True, slots=True)
class Scattered:
    """A micro-kernel: its text, and the instructions that it executes.

    instructions  where all inputs are zero
    hit, turn     what is to be added for each input that is not, and for each turn of the loop over its groups
    """

    text: str
    instructions: int
    hit: int
    turn: int
