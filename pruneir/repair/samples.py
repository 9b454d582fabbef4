"""What the uncut network computes where the pruned one is repaired: rows of outputs, and moments of norms' inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from zlib import crc32

import numpy as np

from pruneir.calibrate.linear import Rows
from pruneir.data import Data
from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import evaluate
from pruneir.repair.sites import Site
from pruneir.repair.store import Store

_BATCH = 2**28
"""Bytes of values that a batch may have."""
_HELD_OUT = 8
"""Every so manieth sample decides and is not fitted."""


@dataclass(slots=True)
class Spread:
    """Mean and variance per channel, over batches: Chan's update, in double precision."""

    count: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(()))
    total: np.ndarray = field(default_factory=lambda: np.zeros(()))

    def add(self, x: np.ndarray, samples: int) -> None:
        """The first samples of `[samples, channels, …]`."""
        x = x[:samples]
        axes = (0, *range(2, x.ndim))
        count = x.size // max(x.shape[1], 1)
        if not count:
            return
        mean = x.mean(axis=axes, dtype=np.float64)
        centred = x - mean.reshape(-1, *(1,) * (x.ndim - 2)).astype(x.dtype)
        both = self.count + count
        apart = mean - self.mean
        self.total = self.total + np.square(centred).sum(axis=axes, dtype=np.float64)
        self.total = self.total + apart**2 * (self.count * count / both)
        self.mean = self.mean + apart * (count / both)
        self.count = both

    @property
    def variance(self) -> np.ndarray:
        """Over everything added."""
        return self.total / self.count


@dataclass(frozen=True, slots=True)
class Sampled:
    """Some output positions of one batch.

    held  whether a row's sample is held out
    """

    rows: Rows
    held: np.ndarray


class Targets:
    """One run of the uncut network: sampled outputs per linear site, the moments of each norm's input."""

    def __init__(self, store: Store, seed: int):
        self.store, self.seed = store, seed
        self.sampled: dict[str, list[Sampled]] = {}
        self.spreads: dict[str, Spread] = {}
        self.few = False
        """Whether there are too few samples to hold some out: then rows are."""

    def collect(
        self,
        graph: Graph,
        data: Data,
        size: int,
        sites: Sequence[Site],
        limits: Mapping[str, int],
        names: Sequence[str],
        see: Callable[[int, dict[str, np.ndarray]], None],
        progress: Callable[[float], None],
    ) -> None:
        """Run the uncut network.

        limits  rows a sample, by linear site
        names   values that are wanted
        see     told each batch's index and values, once its rows are chosen
        """
        names = list(dict.fromkeys(names))
        counts, first = counts_of(data, size), 0
        self.few = len(data) < _HELD_OUT
        found = evaluate(graph, names, (batch.feeds for batch in data.batches(size)))
        for index, (values, count) in enumerate(zip(found, counts, strict=True)):
            for site in sites:
                array = values[site.target]
                if site.is_linear:
                    self._sample(site, array, index, range(first, first + count), limits[site.value])
                else:
                    array = array.take(site.kept, axis=1) if len(site.kept) < array.shape[1] else array
                    self.spreads.setdefault(site.value, Spread()).add(array, count)
            see(index, values)
            first += count
            progress((index + 1) / len(counts))

    def target(self, site: Site, batch: int) -> np.ndarray:
        """The sampled outputs of one batch, `[rows, channels]`, of the channels that are left."""
        return self.store.get(f"target of {site.value}", batch)

    def drop(self, site: Site) -> None:
        """Let go of a site's sampled outputs."""
        self.store.drop(f"target of {site.value}")
        self.sampled.pop(site.value, None)

    def _sample(self, site: Site, array: np.ndarray, index: int, samples: range, limit: int) -> None:
        axis = site.axis % array.ndim
        sizes = array.shape[:axis] + array.shape[axis + 1 :]
        each = prod(sizes[1:])
        batched = sizes[0] >= len(samples)
        total, wanted = (len(samples) if batched else sizes[0]) * each, limit * len(samples)
        random = np.random.default_rng([self.seed, crc32(site.value.encode()), index])
        at = np.arange(total) if total <= wanted else np.sort(random.choice(total, wanted, replace=False))
        number = samples.start + at // each if batched else np.full(len(at), index)
        if self.few:
            number = np.arange(len(at))
        rows = Rows(sizes, at)
        self.sampled.setdefault(site.value, []).append(Sampled(rows, number % _HELD_OUT == _HELD_OUT - 1))
        self.store.put(f"target of {site.value}", index, rows.of(array, axis)[:, site.kept].astype(np.float32))


def counts_of(data: Data, size: int) -> list[int]:
    """Samples of each batch that count."""
    step = data.batch or size
    return [min(step, len(data) - start) for start in range(0, len(data), step)]


def batch_size(graph: Graph, data: Data, names: Sequence[str]) -> int:
    """How many samples to run at once."""
    batch = next(data.batches(1, data.batch or 1))
    found = next(evaluate(graph, list(dict.fromkeys(names)), [batch.feeds]))
    used = sum(array.nbytes for array in found.values()) / max(batch.count, 1)
    return int(np.clip(_BATCH // max(used, 1), 1, 64))
