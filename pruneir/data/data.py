"""Batches as the network takes them, from a source of samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneir.data.fitting import Input, batch_size, converted
from pruneir.data.labels import by_sample
from pruneir.data.scaling import Scaling
from pruneir.data.source import Samples, Some, Source

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples.

    feeds   one array per graph input, in its element type
    labels  one per sample; or boxes `[M, 6]`, column 0 of which is the sample's position in the batch; None without
    count   samples that count; those behind only fill up a batch of fixed size
    boxes   whether labels are boxes `[M, 6]`
    source  what messages call the data
    """

    feeds: dict[str, Array]
    labels: Array | None
    count: int
    boxes: bool = False
    source: str = "data"

    @property
    def own_labels(self) -> Array | None:
        """The labels of the samples that count, one each: of boxes `[M, 6]` those of the sample, `[count, most, 5]`."""
        if self.labels is None:
            return None
        return by_sample(self.labels, self.count) if self.boxes else self.labels[: self.count]


class Data:
    """A data set for the inputs of a graph, read and converted batch by batch, as often as it is asked for.

    batch      size that the graph prescribes; None if it is free
    warnings   what one should know
    code       SHA-256 of the Python file that makes them, where that was named as `module:function`; else empty
    """

    def __init__(self, source: Source, inputs: Mapping[str, Input], scaling: Scaling):
        self._source, self._inputs, self._scaling = source, dict(inputs), scaling
        self.batch = batch_size(inputs.values(), source.name)
        self.code = source.code
        first = next(source.read(1, 1))
        self.has_labels = first.labels is not None
        self._batch(first)  # what cannot be converted is told before any work
        raw = [each for each in inputs.values() if each.is_float and first.arrays[each.name].dtype.kind in "iu"]
        self.warnings = source.warnings + tuple(
            f"{source.name}: integers go into the float input '{each.name}' as they are; "
            "give --scale, --mean and --std as the network was trained"
            for each in (() if scaling.changes_numbers else raw)
        )

    @property
    def input_names(self) -> tuple[str, ...]:
        """The graph inputs that a batch has an array for."""
        return tuple(self._inputs)

    @property
    def count(self) -> int | None:
        """How many samples there are; None if a Python function gives them, and none has counted them yet."""
        return self._source.count

    def __len__(self) -> int:
        """The same, by reading them all once if it is not known yet."""
        return self._source.counted()

    def __bool__(self) -> bool:
        """There is at least one sample."""
        return True

    def batches(
        self, size: int = 64, limit: int | None = None, *, shuffle: np.random.Generator | None = None
    ) -> Iterator[Batch]:
        """The samples, or `limit` of them, some at a time; the last batch may be smaller.

        size     samples per batch; a size that the graph prescribes goes before it, and the last batch is filled up
        limit    the first ones, or as many of the shuffled ones
        shuffle  puts them into random order: all of them, or, of a Python function's, some thousand at a time
        """
        for samples in self._source.read(self.batch or size, limit, shuffle):
            yield self._batch(samples)

    def some(self, limit: int, seed: int = 0) -> Data:
        """These data, or as many of them, chosen by chance: what comes first in a file may be all of one kind."""
        if self._source.counted() <= limit:
            return self
        return Data(Some(self._source, limit, seed), self._inputs, self._scaling)

    def feeds(self, limit: int = 64) -> dict[str, Array]:
        """The first samples as one batch: as many as the graph prescribes, or `limit`."""
        return next(self.batches(limit, self.batch or limit)).feeds

    def _batch(self, samples: Samples) -> Batch:
        count = len(samples)
        if self.batch is not None and count < self.batch:
            samples = samples.filled(self.batch)
        name = self._source.name
        feeds = {
            each: converted(array, self._inputs[each], self._scaling, name) for each, array in samples.arrays.items()
        }
        return Batch(feeds, samples.labels, count, samples.boxes, name)
