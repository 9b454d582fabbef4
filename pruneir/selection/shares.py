"""From shares of channels to those that go: all from one value τ on, in every group, as far as a budget lets them.

A share is of something that a channel lacks, such as weights that are not zero: the larger, the sooner it goes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pruneir.coupling import Group
from pruneir.selection.choose import Budget, Removed, choose


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of some groups' channels, `[channels]` each.

    budget  caps, the multiple of what stays, and what is to go of particular groups, whatever τ
    """

    of: Mapping[Group, np.ndarray]
    budget: Budget

    @property
    def ranked(self) -> np.ndarray:
        """The shares of all channels for which τ decides, the largest first."""
        free = [share for group, share in self.of.items() if group not in self.budget.ratios]
        return np.sort(np.concatenate([np.zeros(0), *free]))[::-1]

    def removed(self, least: float | None) -> Removed:
        """The channels with a share of at least τ; none but the budget's own where that is None."""
        ratios = {group: 0.0 if least is None else float((share >= least).mean()) for group, share in self.of.items()}
        scores = {group: -share for group, share in self.of.items()}
        return choose(scores, replace(self.budget, ratios={**ratios, **self.budget.ratios}))

    def largest(self, fits: Callable[[Removed], bool]) -> float | None:
        """The largest τ whose channels fit, as those of all smaller ones are taken to; the smallest if none do."""
        steps: list[float | None] = [None, *dict.fromkeys(self.ranked.tolist())]
        return steps[min(bisect_left(steps, True, key=lambda least: fits(self.removed(least))), len(steps) - 1)]

    def smallest(self, bears: Callable[[float], bool], parts: int) -> float | None:
        """The smallest τ that something bears, of those at which 1, 2 … of so many parts of the channels go.

        bears  whether it does; taken to be so above one τ, and no more below. None where it bears none.
        """
        ranked, low, high = self.ranked, 0, parts
        steps = [float(ranked[max(part * len(ranked) // parts - 1, 0)]) for part in range(parts)]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if bears(steps[middle]) else (low, middle)
        return steps[low] if low else None
