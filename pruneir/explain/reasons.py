"""Every reason for which a class of channels stays, not only the first that was met.

A position with several factors, {h, d}, stays only if all of them are locked; its reasons are those of each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pruneir.coupling import Coupling
from pruneir.coupling.generators import NEVER, Generators, Ids
from pruneir.coupling.labels import Labels
from pruneir.errors import Refusal


class Reasons:
    """The locks of a graph, by class."""

    def __init__(self, coupling: Coupling):
        self.generators = coupling.generators
        self._roots, self._indices = _by_class(self.generators)
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
        at, indices = self._pairs(rows[whole])
        never = (rows[whole] == NEVER).all(axis=1)
        data = self._data(labels.base[whole][never])
        holding = self._counted(np.concatenate([at, np.flatnonzero(never)]), np.concatenate([indices, data]), times)
        return holding, self._counted(*self._pairs(np.where(locked, rows, NEVER)[~whole]), times)

    def _pairs(self, rows: Ids) -> tuple[Ids, Ids]:
        """Every row with the index of every reason of its factors."""
        at: list[Ids] = [np.zeros(0, np.int64)]
        indices: list[Ids] = [np.zeros(0, np.int64)]
        for column in rows.T:
            low = np.searchsorted(self._roots, column, "left")
            count = np.searchsorted(self._roots, column, "right") - low
            step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            at.append(np.repeat(np.arange(len(column)), count))
            indices.append(self._indices[np.repeat(low, count) + step])
        return np.concatenate(at), np.concatenate(indices)

    def _data(self, base: Ids) -> Ids:
        """Where rows met data, as the index of a reason; 0, which says only that they did, where that is not known."""
        found = np.zeros(len(base), np.int64)
        for ids, index in self.generators.met:
            found[np.isin(base, ids).any(axis=1) & (found == 0)] = index
        return found

    def _counted(self, at: Ids, indices: Ids, times: int) -> dict[Refusal, int]:
        """Reasons, each with the number of positions that it holds."""
        pairs = np.unique(np.stack([indices, at]), axis=1)
        found: dict[Refusal, int] = {}
        for index, held in zip(*np.unique(pairs[0], return_counts=True), strict=True):
            reason = self.generators.reasons[int(index)]
            found[reason] = max(found.get(reason, 0), int(held) * times)
        return found


def _by_class(generators: Generators) -> tuple[Ids, Ids]:
    """Classes and the indices of their reasons, one pair each, sorted by class."""
    if not generators.locks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ids = np.concatenate([ids for ids, _ in generators.locks])
    indices = np.repeat([index for _, index in generators.locks], [len(ids) for ids, _ in generators.locks])
    leaves = generators.factors(ids[:, None])
    roots, reasons = leaves.reshape(-1), np.repeat(indices, leaves.shape[1])
    inside = roots > NEVER
    pairs = np.unique(np.stack([roots[inside], reasons[inside]]), axis=1)
    return pairs[0], pairs[1]
