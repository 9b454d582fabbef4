"""How large a tile of C one block of threads computes, by a model of the machine: no timing, so every build is equal.

A multiprocessor issues 4 warp instructions a cycle and reads shared memory once. A thread of a tile of m pixels and n
filters needs, for each k, m·n multiply-adds, m loads of pixels (one each, so that neighbouring threads have
neighbouring pixels) and n/4 of filters (four at once, the same for a whole warp). Blocks are dealt to multiprocessors
in rounds, and a multiprocessor with less than eight warps waits for memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

MULTIPROCESSORS = 108
"""Of an A100; others have 66 to 144."""
WARP = 32
BUSY = 8
"""Warps that hide the latency of memory."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A block of threads and what each computes.

    across, down  threads along pixels, and along filters
    wide, high    pixels and filters of one thread
    depth         steps of k whose operands lie in shared memory at a time
    """

    across: int
    down: int
    wide: int
    high: int
    depth: int

    def __str__(self) -> str:
        return f"{self.pixels}x{self.filters}x{self.depth}"

    @property
    def pixels(self) -> int:
        """Of a block."""
        return self.across * self.wide

    @property
    def filters(self) -> int:
        """Of a block."""
        return self.down * self.high

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.across * self.down

    def cycles(self, pixels: int, filters: int, depth: int, batches: int) -> float:
        """What a product of that size takes, by the model."""
        blocks = batches * -(-pixels // self.pixels) * -(-filters // self.filters)
        warps = self.threads / WARP
        sums = self.wide * self.high / 4
        loads = self.wide + max(1, self.high / 4)
        fetch = (self.pixels + self.filters) / WARP
        step = warps * max(sums, loads) + fetch
        resident = min(-(-blocks // MULTIPROCESSORS), 8)
        waiting = max(1.0, BUSY / (warps * resident))
        steps = -(-depth // self.depth) * self.depth
        return -(-blocks // MULTIPROCESSORS) * steps * step * waiting


TILES = tuple(
    Tile(across, down, wide, high, depth)
    for across, down, wide, high, depth in product((8, 16, 32), (4, 8, 16), (1, 2, 4, 8), (1, 2, 4, 8), (8, 16))
    if 64 <= across * down <= 256
)


def best(pixels: int, filters: int, depth: int, batches: int = 1) -> Tile:
    """The tile that takes the fewest cycles; of equals the first."""
    return min(TILES, key=lambda tile: tile.cycles(pixels, filters, depth, batches))
