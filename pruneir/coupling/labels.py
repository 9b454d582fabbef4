"""The labels of one axis: which generators each of its positions carries.

Labels are kept as `outer` copies of a base `[m, factors]` whose every row stands `inner` times, so that a channel axis
flattened with its image (channel k → k·H·W … (k+1)·H·W) costs C rows, not C·H·W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

import numpy as np

from pruneir.coupling.columns import NEVER, Ids
from pruneir.coupling.generators import ALONE, MEETS_DATA, Generators


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Rows of generators: `outer` × base `[m, factors]` × `inner`."""

    base: Ids
    inner: int = 1
    outer: int = 1

    def __len__(self) -> int:
        return self.outer * len(self.base) * self.inner

    @property
    def is_data(self) -> bool:
        """Whether no position can ever die."""
        return len(self.base) == 1 and not self.base.any()

    def rows(self) -> Ids:
        """One row a position, `[n, factors]`."""
        if self.inner == self.outer == 1:
            return self.base
        return np.tile(np.repeat(self.base, self.inner, axis=0), (self.outer, 1))

    def take(self, positions: Ids) -> Labels:
        """The labels at some positions, in their order."""
        if self.is_data:
            return data(len(positions))
        return Labels(self.base[(positions // self.inner) % len(self.base)])

    def spread(self, kept: np.ndarray) -> np.ndarray:
        """One entry a base row → one entry a position."""
        return kept if self.inner == self.outer == 1 else np.tile(np.repeat(kept, self.inner), self.outer)


def data(length: int) -> Labels:
    """An axis whose positions never die: batch, image rows, time."""
    return Labels(np.zeros((1, 1), np.int64), inner=length)


def single(ids: Ids) -> Labels:
    """One generator a position."""
    return Labels(ids[:, None])


def concat(parts: Sequence[Labels]) -> Labels:
    """The labels of axes laid end to end."""
    if all(part.is_data for part in parts):
        return data(sum(map(len, parts)))
    width = max(part.base.shape[1] for part in parts)
    return Labels(np.concatenate([_widened(part.rows(), width) for part in parts]))


def aligned(a: Labels, b: Labels) -> tuple[Ids, Ids]:
    """The base rows of two axes of equal length, written out as far as they must be to stand side by side."""
    inner, outer = gcd(a.inner, b.inner), gcd(a.outer, b.outer)
    return tuple(Labels(x.base, x.inner // inner, x.outer // outer).rows() for x in (a, b))  # type: ignore[return-value]


def tie(generators: Generators, a: Labels, b: Labels) -> None:
    """Position i of one axis dies exactly when position i of the other does; what faces data alone stays."""
    if a is b or (a.is_data and b.is_data):
        return
    if a.is_data or b.is_data:
        rows = (b if a.is_data else a).base
        if not generators.locked(generators.leaves(rows)).all():
            generators.lock(rows, MEETS_DATA)
    else:
        generators.tie(*aligned(a, b))


def merge(axes: Sequence[Labels]) -> Labels:
    """The labels of axes merged into one, row-major: position (i, j) carries those of i and of j."""
    factors = [f for axis in axes for f in _factors(axis) if f[0] > 1 or f[1] is not None]
    varying = [i for i, (_, base) in enumerate(factors) if base is not None]
    if not varying:
        return data(prod(size for size, _ in factors))
    outer = prod(size for size, _ in factors[: varying[0]])
    inner = prod(size for size, _ in factors[varying[-1] + 1 :])
    middle = factors[varying[0] : varying[-1] + 1]
    total = prod(size for size, _ in middle)
    columns, stride, index = [], total, np.arange(total)
    for size, base in middle:
        stride //= size
        if base is not None:
            columns.append(base[(index // stride) % size])
    return Labels(np.concatenate(columns, axis=1), inner, outer)


def reshape(generators: Generators, axes: Sequence[Labels], sizes: Sequence[int]) -> list[Labels]:
    """The labels of a tensor's axes after a row-major reshape to `sizes`.

    Axes are grouped into the smallest runs of equal product. A run that becomes one axis is merged; one that becomes
    several is split: a factor that varies along one new axis only moves there, any other is replaced by one fresh
    factor for each axis that it varies along, so that whole rows or whole columns can go. Of a tensor without elements
    all axes are data.
    """
    if 0 in sizes:
        for axis in axes:
            tie(generators, axis, data(len(axis)))
        return [data(size) for size in sizes]
    factors = []
    for size, base in (factor for axis in axes for factor in _factors(axis)):
        if size > 1:
            factors.append((size, base))
        elif base is not None and not generators.locked(generators.leaves(base)).all():
            generators.lock(base, ALONE)
    parts: list[Labels] = []
    start = 0
    position = 0
    while position < len(sizes):
        if sizes[position] == 1:
            parts.append(data(1))
            position += 1
            continue
        stop, end = start, position
        have, want = 1, 1
        while have != want or have == 1:
            if have <= want and stop < len(factors):
                have *= factors[stop][0]
                stop += 1
            else:
                want *= sizes[end]
                end += 1
        run = [Labels(base) if base is not None else data(size) for size, base in factors[start:stop]]
        new = list(sizes[position:end])
        parts += [merge(run)] if len(new) == 1 else _split(generators, merge(run), new)
        start, position = stop, end
    return parts


def split(generators: Generators, axis: Labels, sizes: Sequence[int]) -> list[Labels]:
    """The labels of one axis seen as several, row-major."""
    return reshape(generators, [axis], sizes)


def _split(generators: Generators, axis: Labels, sizes: Sequence[int]) -> list[Labels]:
    if axis.is_data:
        return [data(size) for size in sizes]
    inner, outer = gcd(axis.inner, sizes[-1]), gcd(axis.outer, sizes[0])
    if inner * outer > 1:
        return _split_repeated(generators, axis, sizes, inner, outer)
    columns: list[list[Ids]] = [[] for _ in sizes]
    for column in generators.leaves(axis.rows()).T:
        grid = column.reshape(sizes)
        along = [k for k in range(len(sizes)) if _varies(grid, k)]
        if len(along) > 1 and generators.locked(column).all():
            for k in along:
                columns[k].append(np.full(sizes[k], grid.flat[0]))
        elif len(along) > 1:
            fresh = {k: generators.fresh(sizes[k]) for k in along}
            index = np.indices(sizes).reshape(len(sizes), -1)
            generators.tie(column[:, None], np.stack([fresh[k][index[k]] for k in along], axis=1))
            for k in along:
                columns[k].append(fresh[k])
                generators.lock_whole(fresh[k][:, None])
        else:
            k = along[0] if along else next((k for k, size in enumerate(sizes) if size > 1), 0)
            columns[k].append(np.moveaxis(grid, k, 0).reshape(sizes[k], -1)[:, 0])
    return [Labels(np.stack(c, axis=1)) if c else data(size) for c, size in zip(columns, sizes, strict=True)]


def _split_repeated(generators: Generators, axis: Labels, sizes: Sequence[int], inner: int, outer: int) -> list[Labels]:
    """A split whose last and first axis take repeats and copies with them, which need not be written out for it."""
    fewer = list(sizes)
    fewer[-1] //= inner
    fewer[0] //= outer
    parts = _split(generators, Labels(axis.base, axis.inner // inner, axis.outer // outer), fewer)
    parts[-1] = Labels(parts[-1].base, parts[-1].inner * inner, parts[-1].outer)
    parts[0] = Labels(parts[0].base, parts[0].inner, parts[0].outer * outer)
    return parts


def _varies(grid: Ids, axis: int) -> bool:
    return bool((np.take(grid, [0], axis=axis) != grid).any())


def _factors(axis: Labels) -> list[tuple[int, Ids | None]]:
    """The axis as a row-major product: copies, rows that carry labels, repeats."""
    base = None if len(axis.base) == 1 and not axis.base.any() else axis.base
    return [(axis.outer, None), (len(axis.base), base), (axis.inner, None)]


def _widened(rows: Ids, width: int) -> Ids:
    """Padded in front: the last factor counts positions, however many factors count blocks before it."""
    return np.pad(rows, ((0, 0), (width - rows.shape[1], 0)), constant_values=NEVER)
