"""Choosing a linear operator's weight and bias: as they are, the mean restored, or refitted; rows held out decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.repair.regression import Solution, Sums, correction

_EXACT = 1e-10
"""Share of an output's variance below which an error is rounding."""
_DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_MIDDLE = 4


@dataclass(slots=True)
class Use:
    """One operator that reads the weight.

    fit, held  rows that are fitted, and rows that judge
    intercept  what is added to the product now, `[groups, out]`
    """

    fit: Sums
    held: Sums
    intercept: np.ndarray

    @property
    def judge(self) -> Sums:
        """The rows held out; all where there are none."""
        return self.held if self.held.count else self.fit


@dataclass(frozen=True, slots=True)
class Choice:
    """What is best, of what is allowed.

    matrix      `[groups, out, features]`; None: as it is
    intercepts  one for each use; None: as they are
    before, after  share of the target's variance that was missed on the rows held out, and that then is
    """

    matrix: np.ndarray | None
    intercepts: list[np.ndarray] | None
    before: float
    after: float


def choose(
    uses: Sequence[Use],
    present: np.ndarray,
    *,
    means: bool,
    refit: bool,
    damping: float | None,
    sources: Sequence[Use] | None = None,
) -> Choice:
    """The best of: nothing, means restored, weight refitted with every damping tried. What is zero in it stays zero.

    damping  None: those of a ladder, downhill from its middle
    sources  rows that the correction comes from, where not from the uses themselves
    """
    sources = uses if sources is None else sources
    scale = sum(float(use.judge.spread().sum()) for use in uses)
    before = _error(uses, [Solution(present, use.intercept) for use in uses])
    if before <= _EXACT * scale:
        return Choice(None, None, before / (scale or 1), before / (scale or 1))
    best, least = Choice(None, None, 0, 0), before
    if means and (error := _error(uses, [use.fit.fitted(present) for use in uses])) < least:
        least, best = error, Choice(None, _intercepts(uses, present), 0, 0)
    if refit:
        found = _damping(uses, sources, present, damping)
        if found is not None and found[1] < least:
            least = found[1]
            parts = [part for source in sources for part in (source.fit, source.held)]
            matrix = present + correction(parts, present, found[0], present != 0)
            best = Choice(matrix, _intercepts(uses, matrix), 0, 0)
    return Choice(best.matrix, best.intercepts, before / (scale or 1), least / (scale or 1))


def _intercepts(uses: Sequence[Use], matrix: np.ndarray) -> list[np.ndarray]:
    """From all rows."""
    found = []
    for use in uses:
        parts = [part for part in (use.fit, use.held) if part.count]
        total = sum(part.count for part in parts)
        found.append(np.sum([part.fitted(matrix).intercept * part.count for part in parts], axis=0) / total)
    return found


def _error(uses: Sequence[Use], solutions: Sequence[Solution]) -> float:
    return sum(float(use.judge.error(each).sum()) for use, each in zip(uses, solutions, strict=True))


def _damping(
    uses: Sequence[Use], sources: Sequence[Use], present: np.ndarray, damping: float | None
) -> tuple[float, float] | None:
    """The damping whose fit errs least on the rows held out, and that error."""

    def error(damped: float) -> float:
        matrix = present + correction([source.fit for source in sources], present, damped, present != 0)
        return _error(uses, [use.fit.fitted(matrix) for use in uses])

    if not all(use.fit.count for use in (*uses, *sources)):
        return None
    if damping is not None:
        return damping, error(damping)
    best = _DAMPINGS[_MIDDLE], error(_DAMPINGS[_MIDDLE])
    for ladder in (_DAMPINGS[_MIDDLE - 1 :: -1], _DAMPINGS[_MIDDLE + 1 :]):
        start = best
        for step in ladder:
            found = error(step)
            if found >= best[1]:
                break
            best = step, found
        if best is not start:
            break
    return best
