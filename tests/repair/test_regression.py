"""Both forms of the regression give one answer, that of the textbook."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.repair.regression import Grams, Solution, Stacks, correction

GROUPS, ROWS, FEATURES, OUT = 3, 40, 6, 4


def drawn(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.standard_normal((GROUPS, rows, FEATURES)) + 5
    truth = random.standard_normal((GROUPS, OUT, FEATURES))
    return x, x @ truth.transpose(0, 2, 1) + 7, truth


@pytest.mark.parametrize("kind", [Grams, Stacks])
def test_an_exact_relation_is_found_whatever_the_batches(kind: type[Grams] | type[Stacks]) -> None:
    x, y, truth = drawn()
    sums = kind()
    for part in (slice(0, 7), slice(7, 7), slice(7, ROWS)):
        sums.add(x[:, part], y[:, part])
    start = np.zeros_like(truth)
    found = sums.fitted(start + correction([sums], start, 1e-9))
    np.testing.assert_allclose(found.matrix, truth, atol=1e-6)
    np.testing.assert_allclose(found.intercept, 7, atol=1e-5)
    assert sums.count == ROWS
    residual = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    np.testing.assert_allclose(sums.spread(), residual)
    np.testing.assert_allclose(sums.error(Solution(start, y.mean(axis=1))), residual)


@pytest.mark.parametrize("rows", [4, 40])
@pytest.mark.parametrize("damping", [1e-3, 0.5])
def test_primal_and_dual_agree_with_the_formula(rows: int, damping: float) -> None:
    x, y, truth = drawn(rows)
    y = y + np.random.default_rng(1).standard_normal(y.shape)
    start = truth * 0.5
    grams, stacks = Grams(), Stacks()
    grams.add(x, y)
    stacks.add(x, y)
    xc, yc = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    for g in range(GROUPS):
        gram = xc[g].T @ xc[g]
        ridge = damping * np.trace(gram) / FEATURES * np.eye(FEATURES)
        expected = np.linalg.solve(gram + ridge, xc[g].T @ (yc[g] - xc[g] @ start[g].T)).T
        np.testing.assert_allclose(correction([grams], start, damping)[g], expected, atol=1e-8)
        np.testing.assert_allclose(correction([stacks], start, damping)[g], expected, atol=1e-8)


def test_the_optimal_brain_update_is_the_same_regression() -> None:
    """δ = −H⁻¹_{:,S}([H⁻¹]_SS)⁻¹·w_S of all inputs is the fit of the whole output on the inputs that are left."""
    random = np.random.default_rng(2)
    x = random.standard_normal((1, 50, 8)) @ random.standard_normal((8, 8))
    x -= x.mean(axis=1, keepdims=True)
    w = random.standard_normal((1, 3, 8))
    gone, left = np.array([1, 4]), np.array([0, 2, 3, 5, 6, 7])
    inverse = np.linalg.inv(x[0].T @ x[0])
    update = -inverse[:, gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], w[0][:, gone].T)
    sums = Grams()
    sums.add(x[:, :, left], x @ w.transpose(0, 2, 1))
    np.testing.assert_allclose(correction([sums], w[:, :, left], 1e-12)[0], update[left].T, atol=1e-8)


def test_what_never_varies_is_left_alone() -> None:
    sums = Grams()
    sums.add(np.ones((1, 5, 3)), np.random.default_rng(0).standard_normal((1, 5, 2)))
    assert not correction([sums], np.zeros((1, 2, 3)), 1e-3).any()


@pytest.mark.parametrize("rows", [4, 40])
@pytest.mark.parametrize("kind", [Grams, Stacks])
def test_what_is_not_free_stays_and_the_rest_is_the_regression_on_it(
    kind: type[Grams] | type[Stacks], rows: int
) -> None:
    x, y, _ = drawn(rows)
    sums = kind()
    sums.add(x, y)
    free = np.random.default_rng(3).random((GROUPS, OUT, FEATURES)) < 0.5
    free[0, 0] = False
    found = correction([sums], np.zeros(free.shape), 0.1, free)
    assert not found[~free].any()
    xc, yc = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    for g, o in np.ndindex(GROUPS, OUT):
        gram, some = xc[g].T @ xc[g], np.flatnonzero(free[g, o])
        ridge = 0.1 * np.trace(gram) / FEATURES * np.eye(len(some))
        expected = np.linalg.solve(gram[np.ix_(some, some)] + ridge, xc[g][:, some].T @ yc[g][:, o])
        np.testing.assert_allclose(found[g, o, some], expected, rtol=1e-4, atol=1e-6)
