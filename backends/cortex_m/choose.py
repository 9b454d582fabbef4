"""Which register tile a reduction gets: the one that executes the fewest instructions.

The instructions of a micro-kernel are known when it is written, so that tiles are compared without running them:

    tiles · (micro-kernel + what calling it costs) + sums · what an epilogue costs

Where a micro-kernel writes the epilogue itself, and loops over its tiles, these cost less; it does so for tiles that
divide the filters and points.

Tiles that reach beyond the last filter or point compute sums that nobody reads, and may read inputs beyond the last;
where these may lie beyond the end of a caller's array, only tiles that fit are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge, Written
from pruneir.backends.cortex_m.schedule import Tile

CALL, LOOP, _EPILOGUE = 24, 7, 7
"""Instructions around a call of a micro-kernel, around a tile in a loop of its own, and for each of its sums in C."""
MOST = 28
"""Sums of a tile at most."""
Write = Callable[[str, Nest], Written]


def best(nest: Nest, filters: int, points: int, write: Write, *, exact: bool = False) -> Tile | None:
    """The best tile of `filters` × `points` sums; `nest` says how a sum reads. None if no tile can be written."""
    costs = [(cost(nest, tile, filters, points, write), tile) for tile in _tiles(filters, points, exact)]
    found = [(known, tile) for known, tile in costs if known is not None]
    return min(found, key=lambda each: (each[0], each[1].filters * each[1].points))[1] if found else None


def _tiles(filters: int, points: int, exact: bool) -> Iterator[Tile]:
    for f in range(1, min(_whole(filters), MOST) + 1):
        for p in range(1, min(points, MOST // f) + 1):
            if not exact or points % p == 0:
                yield Tile(f, p)


def _whole(count: int) -> int:
    """The count in whole vectors; one stays one."""
    return count if count == 1 else -(-count // 4) * 4


def cost(nest: Nest, tile: Tile, filters: int, points: int, write: Write) -> int | None:
    """What all tiles take, with the epilogue in C where the micro-kernel cannot write it. None if it cannot be."""
    divides = not filters % tile.filters and not points % tile.points
    one = replace(nest, filters=tile.filters, points=tile.points, steps=())
    tiles = -(-filters // tile.filters) * -(-points // tile.points)
    if divides and nest.finish is not None:
        with suppress(TooLarge):
            written: Written = write("", one)
            a_tile: int = written.instructions - written.around + LOOP if nest.steps else written.instructions + CALL
            return tiles * a_tile
    if not nest.reduction:
        return None
    try:
        sums: Written = write("", replace(one, finish=None))
    except TooLarge:
        return None
    in_c: int = tiles * (sums.instructions + CALL) + filters * points * _EPILOGUE
    return in_c
