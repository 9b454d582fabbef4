"""Least squares in which some entries of the solution stay zero, by conjugate gradients.

    min over δ, δ = δ∘free   ½·⟨δ, (G + λI)·δ⟩ − ⟨δ, right⟩

Every column of δ has a support of its own, so that no factorisation serves them all; a product with G does. Each step
lowers the objective, so where it ends early the result is one of a larger λ, not a wrong one. (Hestenes and Stiefel,
"Methods of conjugate gradients for solving linear systems", 1952; the preconditioner is the diagonal.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_STEPS = 200
_SMALL = 1e-10
"""Share of the first residual, squared, at which a column is done."""


def restricted(
    product: Callable[[np.ndarray], np.ndarray], diagonal: np.ndarray, right: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """δ, `[groups, features, out]`, float64.

    product   (G + λI)·v of a v of that shape
    diagonal  of G + λI, `[groups, features]`, above zero
    right     `[groups, features, out]`
    free      which entries may differ from zero, of that shape
    """
    found = np.zeros_like(right)
    rest = np.where(free, right, 0.0)
    scaled = rest / diagonal[:, :, None]
    direction, size = scaled, _inner(rest, scaled)
    enough = _SMALL * size
    for _ in range(_STEPS):
        if (size <= enough).all():
            break
        ahead = np.where(free, product(direction), 0.0)
        step = _share(size, _inner(direction, ahead))
        found = found + step * direction
        rest = rest - step * ahead
        scaled = rest / diagonal[:, :, None]
        before, size = size, _inner(rest, scaled)
        direction = scaled + _share(size, before) * direction
    return found


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By column, `[groups, 1, out]`."""
    return np.asarray(np.einsum("gfo,gfo->go", a, b)[:, None])


def _share(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, 0 where b is."""
    return np.asarray(np.divide(a, b, out=np.zeros_like(a), where=b > 0))
