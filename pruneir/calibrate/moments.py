"""Second moments of what linear operators read: XXᵀ of their patches, the matrix that reconstruction and the
optimal-brain criteria need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from pruneir.calibrate.linear import Matrix, matrix_of
from pruneir.calibrate.patches import patches
from pruneir.calibrate.streaming import BUDGET, Streamer
from pruneir.data import Data
from pruneir.graph import Graph, Operator
from pruneir.progress import Progress, silent

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

    Operators that are no matrix (`matrix_of`), and those with patches of more than MOST_FEATURES, are left out.
    """
    streamer = Streamer.over(graph, data, limit, budget)
    readers: dict[str, list[Matrix]] = defaultdict(list)
    for operator in operators:
        matrix = matrix_of(graph, operator)
        if isinstance(matrix, Matrix) and matrix.features <= MOST_FEATURES:
            readers[operator.inputs[0]].append(matrix)
    held = {name: sum(matrix.groups * matrix.features**2 * 8 for matrix in some) for name, some in readers.items()}
    runs = streamer.runs(readers, held)
    for number, run in enumerate(runs):
        found: dict[Operator, SecondMoments] = {}
        random = [(matrix, np.random.default_rng((seed, number))) for name in run for matrix in readers[name]]
        for values in streamer.values(run, "second moments", progress, (number, len(runs))):
            for matrix, rng in random:
                count = positions or _positions(matrix, streamer.samples)
                rows = patches(matrix, values[matrix.operator.inputs[0]], count, rng)
                if matrix.operator not in found:
                    groups, length = matrix.groups, matrix.features
                    found[matrix.operator] = SecondMoments(
                        0, np.zeros((groups, length)), np.zeros((groups, length, length))
                    )
                found[matrix.operator].add(rows)
        yield from found.items()


def _positions(matrix: Matrix, samples: int) -> int:
    return max(ceil(_ROWS_PER_FEATURE * matrix.features / max(samples, 1)), _FEWEST_POSITIONS)
