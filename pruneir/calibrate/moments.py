"""Second moments of what linear operators read: XXᵀ of their patches, the matrix that reconstruction and the
optimal-brain criteria need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from pruneir.calibrate.patches import is_linear, patches
from pruneir.calibrate.streaming import BUDGET, Progress, Streamer, silent
from pruneir.data import Data
from pruneir.graph import Graph, Operator

MOST_FEATURES = 8192
"""Longest patch whose moments are gathered: 512 MiB a group."""
_ROWS_PER_FEATURE = 4
_FEWEST_POSITIONS = 16


@dataclass(slots=True)
class SecondMoments:
    """Sums over an operator's patches, in double precision.

    count    rows seen
    mean     `[groups, features]`
    scatter  `[groups, features, features]`: Σ (x − mean)(x − mean)ᵀ
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def gram(self) -> np.ndarray:
        """Σ x·xᵀ, `[groups, features, features]`."""
        return np.asarray(self.scatter + self.count * self.mean[:, :, None] * self.mean[:, None, :])

    @property
    def covariance(self) -> np.ndarray:
        """Of the population, `[groups, features, features]`."""
        return self.scatter / self.count

    def add(self, rows: np.ndarray) -> None:
        """Take in more rows, `[groups, rows, features]`: products of a batch in its own precision, sums in double."""
        new = rows.shape[1]
        mean = rows.mean(axis=1, dtype=np.float64)
        centred = rows - mean[:, None].astype(rows.dtype)
        total = self.count + new
        for group, part in enumerate(centred):
            delta = mean[group] - self.mean[group]
            self.scatter[group] += part.T @ part
            if self.count:
                self.scatter[group] += np.outer(delta, delta * (self.count * new / total))
        self.mean += (mean - self.mean) * (new / total)
        self.count = total


def second_moments(
    graph: Graph,
    operators: Iterable[Operator],
    data: Data,
    *,
    limit: int | None = None,
    positions: int | None = None,
    seed: int = 0,
    budget: int = BUDGET,
    progress: Progress = silent,
) -> Iterator[tuple[Operator, SecondMoments]]:
    """The moments of each operator's patches, over the first `limit` samples; few are in memory at once.

    positions  output positions of each sample to take; None: as many as make four rows a feature, at least 16
    budget     bytes of values and moments that may be in memory at once; larger moments are gathered alone

    Operators that `patches` does not know, and those with patches of more than MOST_FEATURES, are left out.
    """
    streamer = Streamer.over(graph, data, limit, budget)
    readers: dict[str, list[Operator]] = defaultdict(list)
    for operator in operators:
        if is_linear(operator, graph) and features(operator, graph)[1] <= MOST_FEATURES:
            readers[operator.inputs[0]].append(operator)
    held = {name: sum(_bytes(operator, graph) for operator in some) for name, some in readers.items()}
    runs = streamer.runs(readers, held)
    for number, run in enumerate(runs):
        found: dict[Operator, SecondMoments] = {}
        random = {operator: np.random.default_rng((seed, number)) for name in run for operator in readers[name]}
        for values in streamer.values(run, "second moments", progress, (number, len(runs))):
            for operator, rng in random.items():
                x = values[operator.inputs[0]]
                count = positions or _positions(operator, graph, streamer.samples)
                rows = patches(operator, graph, x, count, rng)
                if operator not in found:
                    groups, length = rows.shape[0], rows.shape[2]
                    found[operator] = SecondMoments(0, np.zeros((groups, length)), np.zeros((groups, length, length)))
                found[operator].add(rows)
        yield from found.items()


def features(operator: Operator, graph: Graph) -> tuple[int, int]:
    """The groups of a linear operator, and the features of each."""
    weights = graph.constant(operator.inputs[1])
    assert weights is not None
    groups = operator.attribute("group", 1)
    if operator.is_a("Conv"):
        return groups, prod(weights.shape[1:])
    if operator.is_a("ConvTranspose"):
        return groups, len(weights) // groups * prod(weights.shape[2:])
    return 1, weights.shape[1 if operator.is_a("Gemm") and operator.attribute("transB", 0) else 0]


def _bytes(operator: Operator, graph: Graph) -> int:
    groups, length = features(operator, graph)
    return groups * length * length * 8


def _positions(operator: Operator, graph: Graph, samples: int) -> int:
    wanted = _ROWS_PER_FEATURE * features(operator, graph)[1]
    return max(ceil(wanted / max(samples, 1)), _FEWEST_POSITIONS)
