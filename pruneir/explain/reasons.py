"""Every reason for which a class of channels stays, not only the first that was met.

A position with several factors, {h, d}, stays only if all of them are locked; its reasons are those of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pruneir.coupling import Coupling
from pruneir.coupling.generators import NEVER, Generators, Ids
from pruneir.coupling.labels import Labels
from pruneir.errors import Refusal

_UNKNOWN = 0
"""The reason that says only that something met data, not where."""


class Reasons:
    """The locks of a graph, by class."""

    def __init__(self, coupling: Coupling):
        self.generators = coupling.generators
        self._locks, self._met = _by_class(self.generators), _sorted(*_flat(self.generators.met))
        self._known: dict[int, tuple[Labels, Mapping[Refusal, int], Mapping[Refusal, int]]] = {}

    def holding(self, labels: Labels) -> Mapping[Refusal, int]:
        """Why positions of an axis stay, with the number of positions that each reason holds."""
        return self._of(labels)[1]

    def partly(self, labels: Labels) -> Mapping[Refusal, int]:
        """Why positions that can go cannot go freely: one of their factors, blocks or positions in a block, stays."""
        return self._of(labels)[2]

    def held(self, labels: Labels) -> int:
        """How many positions of an axis stay."""
        rows = self.generators.factors(labels.base)
        return int(self.generators.locked(rows).all(axis=1).sum()) * labels.inner * labels.outer

    # Inside

    def _of(self, labels: Labels) -> tuple[Labels, Mapping[Refusal, int], Mapping[Refusal, int]]:
        if id(labels) not in self._known:
            self._known[id(labels)] = (labels, *self._found(labels))
        return self._known[id(labels)]

    def _found(self, labels: Labels) -> tuple[Mapping[Refusal, int], Mapping[Refusal, int]]:
        rows = self.generators.factors(labels.base)
        locked = self.generators.locked(rows)
        if not locked.any():
            return {}, {}
        times = labels.inner * labels.outer
        whole = locked.all(axis=1)
        at, indices = _pairs(rows[whole], self._locks)
        never = (rows[whole] == NEVER).all(axis=1)
        met, data = _pairs(np.where(never[:, None], labels.base[whole], NEVER), self._met)
        unknown = np.setdiff1d(np.flatnonzero(never), met)
        at = np.concatenate([at, met, unknown])
        holding = self._counted(at, np.concatenate([indices, data, np.full(len(unknown), _UNKNOWN)]), times)
        return holding, self._counted(*_pairs(np.where(locked, rows, NEVER)[~whole], self._locks), times)

    def _counted(self, at: Ids, indices: Ids, times: int) -> dict[Refusal, int]:
        """Reasons, each with the number of positions that it holds."""
        pairs = np.unique(np.stack([indices, at]), axis=1)
        found: dict[Refusal, int] = {}
        for index, held in zip(*np.unique(pairs[0], return_counts=True), strict=True):
            reason = self.generators.reasons[int(index)]
            found[reason] = max(found.get(reason, 0), int(held) * times)
        return found


def _pairs(rows: Ids, known: tuple[Ids, Ids]) -> tuple[Ids, Ids]:
    """Every row with the index of every reason that is known of its factors."""
    ids, reasons = known
    at: list[Ids] = [np.zeros(0, np.int64)]
    indices: list[Ids] = [np.zeros(0, np.int64)]
    for column in rows.T:
        low = np.searchsorted(ids, column, "left")
        count = np.searchsorted(ids, column, "right") - low
        step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        at.append(np.repeat(np.arange(len(column)), count))
        indices.append(reasons[np.repeat(low, count) + step])
    return np.concatenate(at), np.concatenate(indices)


def _by_class(generators: Generators) -> tuple[Ids, Ids]:
    """Classes and the indices of their reasons, one pair each, sorted by class."""
    ids, indices = _flat(generators.locks)
    leaves = generators.factors(ids[:, None])
    return _sorted(leaves.reshape(-1), np.repeat(indices, leaves.shape[1]))


def _flat(noted: Sequence[tuple[Ids, int]]) -> tuple[Ids, Ids]:
    """Generators, and the index of a reason for each."""
    ids = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in noted)])
    return ids, np.repeat(np.array([index for _, index in noted], np.int64), [len(ids) for ids, _ in noted])


def _sorted(ids: Ids, indices: Ids) -> tuple[Ids, Ids]:
    """Each pair once, sorted by generator, without generator 0."""
    pairs = np.unique(np.stack([ids, indices])[:, ids > NEVER], axis=1)
    return pairs[0], pairs[1]
