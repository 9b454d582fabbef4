"""Rows of generators column by column: what two factors of one axis say of each other.

A column is one factor of every position, `[n]` generators with 0 where a position has none. Two columns that tell the
same positions apart have one *partition*; a column that tells more of them apart is *finer*.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

NEVER = 0
"""The generator that never dies, which stands where a position has fewer factors than others."""


def same_sets(a: Ids, b: Ids) -> npt.NDArray[np.bool_]:
    """Which rows hold the same generators, in any order; `[n, factors]` each."""
    if a.shape[1] != b.shape[1]:
        return np.zeros(len(a), bool)
    return np.asarray((np.sort(a, axis=1) == np.sort(b, axis=1)).all(axis=1))


def same_partition(a: Ids, b: Ids) -> bool:
    """Whether the columns tell the same positions apart, and have a generator in the same places."""
    return bool(((a == NEVER) == (b == NEVER)).all()) and np.array_equal(_ranks(a), _ranks(b))


def count(*columns: Ids) -> int:
    """How many kinds of positions the columns together tell apart."""
    return len(np.unique(columns[0]) if len(columns) == 1 else np.unique(np.stack(columns, axis=1), axis=0))


def folded(columns: list[Ids]) -> list[Ids]:
    """The columns with those put together that no row has both of, from the last on.

    What axes that are laid end to end call their blocks then is one factor, and what they call positions another.
    """
    if len(columns) == 1 or all(column.all() for column in columns):
        return columns
    kept: list[Ids] = []
    for column in reversed(columns):
        apart = next((i for i in reversed(range(len(kept))) if not np.logical_and(kept[i], column).any()), None)
        if apart is None:
            kept.append(column)
        else:
            kept[apart] = kept[apart] + column
    return kept[::-1]


def packed(rows: Ids) -> Ids:
    """Rows with their generators first and the padding last."""
    order = np.argsort(rows == NEVER, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def _ranks(column: Ids) -> Ids:
    """Each entry's class, numbered in order of first appearance."""
    _, first, inverse = np.unique(column, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse])
