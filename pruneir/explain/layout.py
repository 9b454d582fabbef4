"""How a group's channels lie on an axis.

Channel k of a regular layout stands at  start + k·step + j·distance + i  for i < repeat and j < copies: a run of
channels has step 1; one flattened with its image repeat H·W; one that stands in every block copies and distance; the
blocks themselves step = repeat; a shuffled one any other step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Layout:
    """Where channels `first` … `last` stand; `regular` is false where no formula says it."""

    length: int
    count: int
    first: int = 0
    last: int = 0
    start: int = 0
    step: int = 1
    repeat: int = 1
    copies: int = 1
    distance: int = 0
    regular: bool = True

    def __str__(self) -> str:
        """In words."""
        if not self.regular:
            return f"{self.count} of {self.length} positions, scattered"
        channels = self.last - self.first
        low, high = sorted((self.start, self.start + channels * self.step))
        high += self.repeat - 1
        if self.copies == 1 and high - low + 1 == self.length == self.count:
            words = f"all {self.length}"
        elif low == high:
            words = f"{low} of {self.length}"
        else:
            words = f"{low}–{high} of {self.length}"
        if self.step < 0:
            words += ", backwards"
        if self.repeat > 1:
            words += f", {self.repeat} each"
        if abs(self.step) > self.repeat:
            words += f", every {abs(self.step)}th"
        if self.copies > 1:
            words += f", and again every {self.distance}: {self.copies} times"
        return words


def layout(channel: np.ndarray) -> Layout:
    """The layout of a group on an axis, from the channel at each position (−1: none)."""
    positions = np.flatnonzero(channel >= 0)
    there = np.unique(channel[positions])
    first, last = int(there[0]), int(there[-1])
    mine = np.flatnonzero(channel == first)
    jumps = np.flatnonzero(np.diff(mine) > 1)
    repeat = int(jumps[0]) + 1 if len(jumps) else len(mine)
    copies = len(mine) // repeat
    distance = int(mine[repeat] - mine[0]) if copies > 1 else 0
    start = int(mine[0])
    step = int(np.flatnonzero(channel == first + 1)[0]) - start if last > first else repeat
    found = Layout(len(channel), len(positions), first, last, start, step, repeat, copies, distance)
    return found if _says(found, channel) else Layout(len(channel), len(positions), first, last, regular=False)


def _says(found: Layout, channel: np.ndarray) -> bool:
    """Whether the formula gives just this axis."""
    k = np.arange(found.last - found.first + 1)
    grid = np.indices((len(k), found.copies, found.repeat))
    at = found.start + grid[0] * found.step + grid[1] * found.distance + grid[2]
    if at.size != found.count or at.min() < 0 or at.max() >= found.length:
        return False
    made = np.full(found.length, -1, np.int64)
    made[at] = grid[0] + found.first
    return bool(np.array_equal(made, channel))
