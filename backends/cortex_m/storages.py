"""What weights take in each format that was compared, of layers with zeros in them or in inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pruneir.backends.cortex_m.columns import Skipped
from pruneir.backends.cortex_m.packing import Packing
from pruneir.backends.cortex_m.sparse import Choice
from pruneir.storage import Format, Storage


def compared(
    found: Sequence[Choice],
    taken: Choice | None,
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
        nbytes = way.packing.pack(weights[at]).nbytes
        return Format(way.stream.width, way.stream.block, nbytes, rows * way.costs[at])

    def storage(at: int, each: np.ndarray) -> Storage:
        formats = Format(0, 0, packing.pack(each).nbytes, rows * most), *(format_of(way, at) for way in found)
        return Storage("", each.size, int(np.count_nonzero(each)), "instructions", formats, place)

    return tuple(storage(at, each) for at, each in enumerate(weights))


def with_columns(stored: Sequence[Storage], choice: Skipped) -> tuple[Storage, ...]:
    """The same weights in columns instead, for inputs to be skipped."""
    width = choice.way.scatter.width
    formats = [Format(width, 0, cost.nbytes, cost.instructions) for cost in choice.costs]
    return tuple(
        replace(each, formats=(*each.formats, own), taken=len(each.formats))
        for each, own in zip(stored, formats, strict=True)
    )
