"""Values of a graph over a data set, batch by batch, in as many runs over the data as the memory asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.data import Batch, Data
from pruneir.graph import Graph
from pruneir.onnx_io import evaluate
from pruneir.progress import Progress, silent
from pruneir.shapes import Shapes, infer

BUDGET = 256 * 2**20
"""Bytes that the values of a batch, and what is gathered of them, may take."""
_BATCH = 64
"""Samples of a batch, where they are small."""
_SHARE = 4
"""A batch's largest value takes at most this part of the budget: others live beside it."""


def samples_of(data: Data, limit: int | None) -> int:
    """How many samples there are among the first `limit`; an uncounted stream is believed to have all."""
    if limit is None:
        return len(data)
    return limit if data.count is None else min(limit, data.count)


@dataclass(frozen=True, slots=True)
class Streamer:
    """A graph's values over the first `limit` samples of the data.

    budget   bytes that may be in memory at once, as far as the shapes tell
    samples  how many samples there are
    size     samples of a batch: fewer the larger the largest value is
    """

    graph: Graph
    data: Data
    limit: int | None
    budget: int
    shapes: Shapes
    samples: int
    size: int

    @classmethod
    def over(cls, graph: Graph, data: Data, limit: int | None = None, budget: int = BUDGET) -> Streamer:
        """A streamer whose batches fit the budget."""
        first = next(data.batches(1, 1)).feeds
        shapes = infer(graph, {name: array.shape for name, array in first.items()})
        rows = max(len(next(iter(first.values()))), 1)
        largest = max((_bytes(shapes, name) or 0 for name in shapes.types), default=1) / rows
        size = int(np.clip(budget // max(_SHARE * largest, 1), 1, _BATCH))
        return cls(graph, data, limit, budget, shapes, samples_of(data, limit), max(size, rows))

    def runs(self, names: Iterable[str], extra: Mapping[str, int] | None = None) -> list[list[str]]:
        """The names, parted so that each run over the data holds what fits the budget; at least one name a run.

        extra   bytes by name that are held besides the values; what has an unknown shape gets a run of its own
        """
        parts: list[list[str]] = []
        room = 0.0
        rows = max(self._rows, 1)
        for name in dict.fromkeys(names):
            known = _bytes(self.shapes, name)
            needed = self.budget if known is None else known / rows * self.size + (extra or {}).get(name, 0)
            if not parts or needed > room:
                parts.append([])
                room = self.budget
            parts[-1].append(name)
            room -= needed
        return parts

    def values(
        self, names: Sequence[str], what: str = "", progress: Progress = silent, part: tuple[int, int] = (0, 1)
    ) -> Iterator[dict[str, np.ndarray]]:
        """The named values of each batch; rows that only fill up a batch are left out.

        part  this run's number and how many there are, for the progress
        """
        asked = [name for name in dict.fromkeys(names) if name not in self.graph.inputs]
        batches = self.data.batches(self.size, self.limit)
        fed: list[Batch] = []

        def feeds() -> Iterator[Mapping[str, np.ndarray]]:
            for batch in batches:
                fed.append(batch)
                yield batch.feeds

        done = 0
        results = evaluate(self.graph, asked, feeds()) if asked else ({} for _ in feeds())
        for values in results:
            batch = fed.pop()
            found = values | {name: batch.feeds[name] for name in names if name in batch.feeds}
            rows = len(next(iter(batch.feeds.values())))
            yield {name: _counted(array, rows, batch.count) for name, array in found.items()}
            done += batch.count
            progress(what, (part[0] + done / max(self.samples, 1)) / part[1])

    def length(self, name: str, axis: int) -> int | None:
        """The length of one axis of a value, if the shapes tell."""
        shape = self.shapes.shape(name)
        return None if shape is None or not -len(shape) <= axis < len(shape) else shape[axis]

    @property
    def _rows(self) -> int:
        return next(iter(self.shapes.inputs.values()), (1,))[0]


def _bytes(shapes: Shapes, name: str) -> int | None:
    shape, kind = shapes.shape(name), shapes.elem_type(name)
    if shape is None or not kind:
        return None
    return prod(shape) * max(np.dtype(tensor_dtype_to_np_dtype(kind)).itemsize, 1)


def _counted(array: np.ndarray, rows: int, count: int) -> np.ndarray:
    """The samples that count, where a value has the batch on axis 0."""
    if count == rows or not array.ndim or len(array) % rows:
        return array
    return array[: len(array) // rows * count]
