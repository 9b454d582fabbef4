"""Mean, variance and range of every channel over a data set.

Batches are merged by the pairwise update of Chan, Golub and LeVeque (1979), in double precision:

    δ = μ_b − μ_a,   μ = μ_a + δ·n_b/n,   M2 = M2_a + M2_b + δ²·n_a·n_b/n
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pruneir.calibrate.streaming import BUDGET, Streamer
from pruneir.data import Data
from pruneir.graph import Graph
from pruneir.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a value's channels looked like, `[channels]` each, in double precision.

    count     numbers of each channel that were seen
    variance  of the population: divided by count
    zeros     share of the numbers that were exactly zero, 0–1
    """

    count: int
    mean: np.ndarray
    variance: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    zeros: np.ndarray

    @property
    def square(self) -> np.ndarray:
        """Mean square of each channel, `[channels]`."""
        return np.asarray(self.variance + self.mean**2)

    @classmethod
    def of(cls, x: np.ndarray, axis: int = 1) -> Statistics:
        """The statistics along one axis of an array with at least one element."""
        rows = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # of infinite values: they make the statistics NaN
            mean, variance = rows.mean(axis=1), rows.var(axis=1)
        return cls(rows.shape[1], mean, variance, rows.min(axis=1), rows.max(axis=1), (rows == 0).mean(axis=1))

    def merged(self, other: Statistics) -> Statistics:
        """The statistics of both samples together."""
        count = self.count + other.count
        share = other.count / count
        with np.errstate(invalid="ignore", over="ignore"):
            delta = other.mean - self.mean
            spread = delta**2 * share * (1 - share)
        return Statistics(
            count,
            self.mean + delta * share,
            self.variance * (1 - share) + other.variance * share + spread,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.zeros * (1 - share) + other.zeros * share,
        )


def channel_statistics(
    graph: Graph,
    names: Iterable[str],
    data: Data,
    *,
    limit: int | None = None,
    axis: int | Mapping[str, int] = 1,
    budget: int = BUDGET,
    progress: Progress = silent,
) -> dict[str, Statistics]:
    """The statistics of any values, over the first `limit` samples.

    axis    the axis of the channels, one for all values or by name
    budget  bytes of values that may be in memory at once; more of them mean more runs over the data
    Raises PruneirError where ONNX Runtime cannot run the graph.
    """
    streamer = Streamer.over(graph, data, limit, budget)
    found: dict[str, Statistics] = {}
    runs = streamer.runs(names)
    for number, run in enumerate(runs):
        for values in streamer.values(run, "statistics", progress, (number, len(runs))):
            for name, x in values.items():
                seen = Statistics.of(x, axis if isinstance(axis, int) else axis[name]) if x.size else None
                if seen is not None:
                    found[name] = found[name].merged(seen) if name in found else seen
    return found
