"""Ridge regression of a linear operator's weight towards what it is, from rows that come batch by batch.

    min over δ, c   Σ_rows ‖y − (M + δ)·x − c‖² + λ·‖δ‖²,    λ = damping · mean diagonal of the centred X·Xᵀ

with the intercept c left free, so that x and y may be centred: δᵀ = (X·Xᵀ + λI)⁻¹·X·(Y − M·X)ᵀ. Where there are fewer
rows than features the dual form δᵀ = X·(Xᵀ·X + λI)⁻¹·(Y − M·X)ᵀ needs less memory. All groups at once. Where entries of
M are to stay zero, δ is found among those that leave them (`conjugate`).

Every eighth sample is held out. Errors are measured there, and decide whether a solution is used and which damping;
the solution used is that of all samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pruneir.repair.conjugate import restricted

_DOUBLE = 1024
"""Up to this many features products are formed in double precision."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A weight and an intercept.

    matrix     `[groups, out, features]`
    intercept  `[groups, out]`
    """

    matrix: np.ndarray
    intercept: np.ndarray


class Sums(ABC):
    """What a regression needs to know of some rows."""

    count: int

    @abstractmethod
    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """More rows: `[groups, rows, features]` and `[groups, rows, out]`."""

    @abstractmethod
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Of x, `[groups, features]`, and of y, `[groups, out]`."""

    @abstractmethod
    def error(self, solution: Solution) -> np.ndarray:
        """Σ over rows of (y − M·x − c)², `[groups, out]`."""

    @abstractmethod
    def spread(self) -> np.ndarray:
        """Σ over rows of (y − mean y)², `[groups, out]`."""

    def fitted(self, matrix: np.ndarray) -> Solution:
        """The matrix with the intercept that fits it best."""
        x, y = self.means()
        return Solution(matrix, y - np.einsum("gof,gf->go", matrix, x))


@dataclass(slots=True)
class Grams(Sums):
    """Products of features, for fewer features than rows.

    Rows are counted from an origin, the means of the first ones: products of what lies far from zero would lose digits.
    """

    count: int = 0
    origin: tuple[np.ndarray, np.ndarray] | None = None
    x: np.ndarray = field(default_factory=lambda: np.zeros(()))
    y: np.ndarray = field(default_factory=lambda: np.zeros(()))
    xx: np.ndarray = field(default_factory=lambda: np.zeros(()))
    xy: np.ndarray = field(default_factory=lambda: np.zeros(()))
    yy: np.ndarray = field(default_factory=lambda: np.zeros(()))

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """More rows: `[groups, rows, features]` and `[groups, rows, out]`."""
        if not x.shape[1]:
            return
        if self.origin is None:
            self.origin = x.mean(axis=1, dtype=np.float64), y.mean(axis=1, dtype=np.float64)
        dtype = np.float64 if x.shape[2] <= _DOUBLE else np.float32
        x = x.astype(dtype) - self.origin[0][:, None].astype(dtype)
        y = y.astype(dtype) - self.origin[1][:, None].astype(dtype)
        self.count += x.shape[1]
        self.x = self.x + x.sum(axis=1, dtype=np.float64)
        self.y = self.y + y.sum(axis=1, dtype=np.float64)
        self.xx = self.xx + x.transpose(0, 2, 1) @ x
        self.xy = self.xy + x.transpose(0, 2, 1) @ y
        self.yy = self.yy + np.einsum("gro,gro->go", y, y, dtype=np.float64)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Of x, `[groups, features]`, and of y, `[groups, out]`."""
        assert self.origin is not None
        return self.origin[0] + self.x / self.count, self.origin[1] + self.y / self.count

    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        """Σ (x − mean x)·(x − mean x)ᵀ and the same with y, `[groups, features, features]` and `[…, out]`."""
        gram = self.xx - self.x[:, :, None] * self.x[:, None] / self.count
        return gram, self.xy - self.x[:, :, None] * self.y[:, None] / self.count

    def error(self, solution: Solution) -> np.ndarray:
        """Σ over rows of (y − M·x − c)², `[groups, out]`."""
        assert self.origin is not None
        m = solution.matrix
        offset = self.origin[1] - np.einsum("gof,gf->go", m, self.origin[0]) - solution.intercept
        quadratic = np.einsum("gof,gof->go", m @ self.xx, m)
        mixed = np.einsum("gof,gfo->go", m, self.xy)
        shift = self.y - np.einsum("gof,gf->go", m, self.x)
        total = self.yy - 2 * mixed + quadratic + 2 * offset * shift + self.count * offset**2
        return np.asarray(np.maximum(total, 0))

    def spread(self) -> np.ndarray:
        """Σ over rows of (y − mean y)², `[groups, out]`."""
        return np.asarray(self.yy - self.y**2 / self.count)


@dataclass(slots=True)
class Stacks(Sums):
    """The rows themselves, for fewer rows than features."""

    xs: list[np.ndarray] = field(default_factory=list)
    ys: list[np.ndarray] = field(default_factory=list)

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many rows there are."""
        return sum(x.shape[1] for x in self.xs)

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """More rows: `[groups, rows, features]` and `[groups, rows, out]`."""
        self.xs.append(x)
        self.ys.append(y)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Of x, `[groups, features]`, and of y, `[groups, out]`."""
        x, y = self._all()
        return x.mean(axis=1), y.mean(axis=1)

    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        """x − mean x and y − mean y, `[groups, rows, features]` and `[groups, rows, out]`."""
        x, y = self._all()
        return x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)

    def error(self, solution: Solution) -> np.ndarray:
        """Σ over rows of (y − M·x − c)², `[groups, out]`."""
        x, y = self._all()
        rest = y - x @ solution.matrix.transpose(0, 2, 1) - solution.intercept[:, None]
        return np.asarray((rest**2).sum(axis=1))

    def spread(self) -> np.ndarray:
        """Σ over rows of (y − mean y)², `[groups, out]`."""
        _, y = self._all()
        return np.asarray(((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))

    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.concatenate(parts, axis=1).astype(np.float64) for parts in (self.xs, self.ys))  # type: ignore[return-value]


def correction(parts: Sequence[Sums], matrix: np.ndarray, damping: float, free: np.ndarray | None = None) -> np.ndarray:
    """δ, `[groups, out, features]`, for all the rows of all parts, each of which has its own intercept.

    free  where δ may differ from zero, of the shape of the matrix; None: everywhere
    """
    present = matrix.transpose(0, 2, 1)
    allowed = np.ones(present.shape, bool) if free is None else free.transpose(0, 2, 1)
    whole = allowed.all(axis=(0, 1))
    found = np.zeros(present.shape)
    grams = [part.centred() for part in parts if isinstance(part, Grams) and part.count]
    if grams:
        gram, cross = (np.asarray(sum(each[1:], each[0])) for each in zip(*grams, strict=True))
        right, diagonal = cross - gram @ present, np.einsum("gff->gf", gram)
        if whole.any():
            found[..., whole] = _ridge(gram, right[..., whole], damping)
        product: Callable[[np.ndarray], np.ndarray] = gram.__matmul__
    else:
        rows = [part.centred() for part in parts if isinstance(part, Stacks) and part.count]
        x, y = (np.concatenate(each, axis=1) for each in zip(*rows, strict=True))
        missed, back = y - x @ present, x.transpose(0, 2, 1)
        if whole.any():
            share = x.shape[1] / x.shape[2]  # one trace, two sizes: the mean diagonal is that over the features
            found[..., whole] = back @ _ridge(x @ back, missed[..., whole], damping * share)
        right, diagonal = back @ missed, np.square(x).sum(axis=1)

        def product(v: np.ndarray) -> np.ndarray:
            return np.asarray(back @ (x @ v))

    if not whole.all():
        found[..., ~whole] = _restricted(product, diagonal, right[..., ~whole], damping, allowed[..., ~whole])
    return found.transpose(0, 2, 1)


def _restricted(
    product: Callable[[np.ndarray], np.ndarray],
    diagonal: np.ndarray,
    right: np.ndarray,
    damping: float,
    free: np.ndarray,
) -> np.ndarray:
    """δ that is zero where it is not free, `[groups, features, out]`; a group that never varies gives zeros.

    product, diagonal, right   G·v, the diagonal of G, and X·(Y − M·X)ᵀ
    """
    means = diagonal.mean(axis=1)
    ridge = np.where(means > 0, damping * means, 1.0)[:, None]
    found = restricted(lambda v: product(v) + ridge[:, :, None] * v, diagonal + ridge, right, free)
    return np.where((means > 0)[:, None, None], found, 0.0)


def _ridge(gram: np.ndarray, right: np.ndarray, damping: float) -> np.ndarray:
    """(G + damping · mean diagonal of G · I)⁻¹ · right, per group; a group that never varies gives zeros."""
    size = gram.shape[1]
    diagonal = np.einsum("gii->gi", gram).mean(axis=1)
    ridge = np.where(diagonal > 0, damping * diagonal, 1.0)
    damped = gram + ridge[:, None, None] * np.eye(size)
    found = np.linalg.solve(damped, right)
    return np.where((diagonal > 0)[:, None, None], found, 0.0)
