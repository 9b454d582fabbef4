"""What lives or dies together: a union-find over generators, with substitution and locks.

Every position of a tracked axis carries a *set* of generators and dies when any of them dies. Sets are rows of an
integer array `[positions, factors]`, one generator per factor; generator 0 never dies and pads short rows. Making two
axes die together (`tie`) is solved factor by factor:

* one factor on both sides: the generators are united;
* rows that are equal already say nothing;
* several factors against several: each goes with the coarsest factor of the other side that tells its positions apart,
  so that {h, d} ~ {a, b, e} is h ~ {a, b} and d ~ e where a and b are rows and e is columns;
* factors that partition the positions alike are united;
* what one side has beyond the matched factors never dies: {h, d} ~ {h} locks d;
* a single factor against several is a substitution p := {h, d}, resolved on every later read; the same p met twice
  unites the factors it stands for;
* several factors against several others that do not match: both lock, since nothing smaller is known to be safe;
* a class that has become all of the axis locks at once, and is no factor of it any more.

Everything is numpy over whole axes; no loop runs over positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pruneir.coupling.columns import NEVER, Ids, count, folded, packed, same_partition, same_sets
from pruneir.errors import Refusal

__all__ = ["ALONE", "MEETS_DATA", "NEVER", "Generators", "Ids"]

_FREE = -1
MEETS_DATA = Refusal("PIR017", "", "these channels meet positions that hold data here, and those always stay")
ALONE = Refusal("PIR005", "", "all of an axis is a single channel here, and one stays")
_DATA = Refusal("PIR017", "", "these positions stand beside padding or other data, which always stays")
_UNMATCHED = Refusal("PIR004", "", "two ways of splitting the same channels into blocks meet here")


class Generators:
    """The union-find. Ids are dense ints; arrays grow by doubling."""

    def __init__(self) -> None:
        self._parent: Ids = np.arange(1024, dtype=np.int64)
        self._left: Ids = np.zeros(1024, np.int64)
        self._right: Ids = np.zeros(1024, np.int64)
        self._reason: Ids = np.full(1024, _FREE, np.int64)
        self._count = 1
        self.reasons: list[Refusal] = [_DATA]
        self.locks: list[tuple[Ids, int]] = []
        """Every lock as it was asked for: generators and the index of the reason."""
        self.met: list[tuple[Ids, int]] = []
        """Generators that became one with generator 0, and the index of the reason."""
        self.at = ""
        """What is being read: the node of reasons that name none."""
        self._reason[NEVER] = 0

    def __len__(self) -> int:
        return self._count

    def fresh(self, count: int) -> Ids:
        """New, free generators."""
        while self._count + count > len(self._parent):
            size = len(self._parent)
            self._parent = np.concatenate([self._parent, np.arange(size, 2 * size, dtype=np.int64)])
            self._left = np.concatenate([self._left, np.zeros(size, np.int64)])
            self._right = np.concatenate([self._right, np.zeros(size, np.int64)])
            self._reason = np.concatenate([self._reason, np.full(size, _FREE, np.int64)])
        ids = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        return ids

    # Reading

    def roots(self, ids: Ids) -> Ids:
        """The representative of each generator's class."""
        found: Ids = self._parent[ids]
        above = self._parent[found]
        if not np.array_equal(above, found):
            while not np.array_equal(above, found):
                found, above = above, self._parent[above]
            self._parent[ids] = found
        return found

    def leaves(self, rows: Ids) -> Ids:
        """The rows in terms of roots that nothing stands in for, without factors that say nothing."""
        rows = self.factors(rows)
        return self._tidy(rows) if rows.shape[1] > 1 else rows

    def factors(self, rows: Ids) -> Ids:
        """The rows in terms of roots that nothing stands in for, every factor of them."""
        rows = self.roots(rows)
        while (standing := self._left[rows] > 0).any():
            columns = []
            for column, replaced in zip(rows.T, standing.T, strict=True):
                if replaced.any():
                    columns.append(np.where(replaced, self._left[column], NEVER))
                    columns.append(np.where(replaced, self._right[column], column))
                else:
                    columns.append(column)
            rows = self.roots(np.stack(columns, axis=1))
        return rows

    def locked(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which leaf roots may never die."""
        return np.asarray(self._reason[ids] != _FREE)

    # Writing

    def lock(self, rows: Ids, reason: Refusal) -> None:
        """These positions must stay."""
        self._lock(self.leaves(rows), self._index(reason))

    def unite(self, a: Ids, b: Ids) -> None:
        """Two lists of leaf generators, pair by pair one class."""
        first, second = self.roots(a), self.roots(b)
        never = (first == NEVER) != (second == NEVER)
        if never.any():
            self.met.append((np.maximum(first, second)[never], self._index(MEETS_DATA)))
        one, other = first, second
        while (differ := one != other).any():
            high = np.maximum(one[differ], other[differ])
            np.minimum.at(self._parent, high, np.minimum(one[differ], other[differ]))
            one, other = self.roots(one), self.roots(other)
        for side in (first, second):
            reason, root = self._reason[side], self.roots(side)
            spread = (reason != _FREE) & (self._reason[root] == _FREE)
            self._reason[root[spread]] = reason[spread]

    def tie(self, a: Ids, b: Ids) -> None:
        """Position i of one axis dies exactly when position i of the other dies; rows `[n, factors]` each."""
        one, other = self.leaves(a), self.leaves(b)
        if one.shape[1] == 1 and other.shape[1] == 1:
            self.unite(one[:, 0], other[:, 0])
        else:
            self._tie_sets(one, other)
            self.lock_whole(one)

    def lock_whole(self, rows: Ids) -> None:
        """A class that is all of some axis stays: without it nothing of the axis would be left."""
        rows = self.leaves(rows)
        whole = rows[:1, (rows == rows[0]).all(axis=0)]
        if len(rows) > 1 and whole.size and not self.locked(whole).all():
            self.lock(whole, ALONE)

    # Inside

    def _tie_sets(self, a: Ids, b: Ids) -> None:
        differ = ~same_sets(a, b)
        if not differ.any():
            return
        left, right = self._match(list(a[differ].T), list(b[differ].T), np.array_equal)
        if len(left) > 1 and len(right) > 1 and (self._refine(left, right) or self._refine(right, left)):
            if left and right:
                self._tie_sets(self.leaves(np.stack(left, axis=1)), self.leaves(np.stack(right, axis=1)))
            else:
                self._never(left or right)
            return
        left, right = self._match(left, right, same_partition)
        if not left or not right:
            self._never(left or right)
        elif len(left) == 1:
            self.substitute(self.roots(left[0]), np.stack(right, axis=1))
        elif len(right) == 1:
            self.substitute(self.roots(right[0]), np.stack(left, axis=1))
        else:
            for column in (*left, *right):
                self.lock(column[:, None], _UNMATCHED)

    def substitute(self, single: Ids, rows: Ids) -> None:
        """Position i, so far the generator `single[i]`, is the set `rows[i]`."""
        held = self.locked(single)
        if held.any():
            for column in rows.T:
                here = held & (column > NEVER)
                self.unite(column[here], single[here])
            single, rows = single[~held], rows[~held]
        if not len(single):
            return
        order = np.argsort(single, kind="stable")
        single, rows = single[order], rows[order]
        first = np.searchsorted(single, single)
        for column in rows.T:
            self.unite(column, column[first])
        keep = first == np.arange(len(first))
        single, rows = self.roots(single[keep]), self.leaves(rows[keep])
        entangled = np.isin(single, rows)
        if entangled.any():
            self.lock(rows[entangled], _UNMATCHED)
            self._tie_sets(self.leaves(single[entangled, None]), self.leaves(rows[entangled]))
            self._tie_sets(self.leaves(single[~entangled, None]), self.leaves(rows[~entangled]))
            return
        rows = packed(rows)
        while rows.shape[1] > 2:
            pair = self.fresh(len(rows))
            both = rows[:, -1] > NEVER
            self._left[pair[both]], self._right[pair[both]] = rows[both, -2], rows[both, -1]
            rows = np.column_stack([rows[:, :-2], np.where(both, pair, rows[:, -2])])
        several = rows[:, 1] > NEVER if rows.shape[1] == 2 else np.zeros(len(rows), bool)
        if several.any():
            self._left[single[several]], self._right[single[several]] = rows[several, 0], rows[several, 1]
        self.unite(single[~several], rows[~several, 0])

    def _index(self, reason: Refusal) -> int:
        """Where a reason stands among all; one that names no node gets the one that is being read."""
        reason = reason if reason.node else replace(reason, node=self.at)
        if self.reasons[-1] != reason:
            self.reasons.append(reason)
        return len(self.reasons) - 1

    def _lock(self, leaves: Ids, index: int) -> None:
        ids = np.unique(leaves)
        ids = ids[ids > NEVER]
        if len(ids):
            self.locks.append((ids, index))
        self._reason[ids[self._reason[ids] == _FREE]] = index

    def _never(self, columns: list[Ids]) -> None:
        for column in columns:
            self.lock(column[:, None], _UNMATCHED)

    def _match(
        self, left: list[Ids], right: list[Ids], alike: Callable[[Ids, Ids], bool]
    ) -> tuple[list[Ids], list[Ids]]:
        """Unite the factors of both sides that are alike; what is left over."""
        for column in list(left):
            twin = next((i for i, other in enumerate(right) if alike(column, other)), None)
            if twin is not None:
                self.unite(column, right.pop(twin))
                left = [other for other in left if other is not column]
        return left, right

    def _refine(self, fine: list[Ids], coarse: list[Ids]) -> bool:
        """Take out coarse factors that follow from one fine factor each, and put them in its place."""
        classes = [count(column) for column in fine]
        chosen: list[int] = []
        for other in coarse:
            finer = [k for k, column in enumerate(fine) if count(column, other) == classes[k]]
            chosen.append(min(finer, key=lambda k: (classes[k], chosen.count(k)), default=-1))
        pairs = [
            (column, [other for other, owner in zip(coarse, chosen, strict=True) if owner == k])
            for k, column in enumerate(fine)
        ]
        fine[:] = [column for column, parts in pairs if not parts]
        coarse[:] = [other for other, owner in zip(coarse, chosen, strict=True) if owner < 0]
        for column, parts in pairs:
            if parts:
                self._tie_sets(self.leaves(column[:, None]), self.leaves(np.stack(parts, axis=1)))
        return any(parts for _, parts in pairs)

    def _tidy(self, rows: Ids) -> Ids:
        """Rows without repeated factors, and without factors that are locked throughout unless all are."""
        held = self.locked(rows).all(axis=0)
        columns: list[Ids] = []
        for column in rows.T[~held] if not held.all() else rows.T[:1]:
            if not any(np.array_equal(column, other) for other in columns):
                columns.append(column)
        return np.stack(folded(columns), axis=1)
