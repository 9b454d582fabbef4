"""What the weights of a layer with zeros take in each format that was compared: bytes of flash, and instructions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pruneir.backends.cortex_m.packing import Packing
from pruneir.backends.cortex_m.sparse import Choice, StreamPacking, Terms
from pruneir.storage import Format, Storage


def compared(
    found: Sequence[Choice],
    taken: Choice | None,
    terms: Terms,
    weights: Sequence[np.ndarray],
    dense: tuple[Packing, int],
    rows: int,
) -> tuple[Storage, ...]:
    """For each of the weights, without the layer's name.

    found  ways without zeros
    taken  the one of these that the layer gets; None for the dense tiles
    dense  how tiles read the weights with their zeros, and the instructions of all tiles
    rows   of points: ways and tiles are of one
    """
    (packing, most), place = dense, 0 if taken is None else 1 + found.index(taken)

    def format_of(way: Choice, at: int) -> Format:
        stored = StreamPacking(terms, way.stream).pack(weights[at])
        return Format(way.stream.width, way.stream.block, stored.nbytes, rows * way.costs[at])

    def storage(at: int, each: np.ndarray) -> Storage:
        formats = Format(0, 0, packing.pack(each).nbytes, rows * most), *(format_of(way, at) for way in found)
        return Storage("", each.size, int(np.count_nonzero(each)), "instructions", formats, place)

    return tuple(storage(at, each) for at, each in enumerate(weights))
