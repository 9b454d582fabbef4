"""From scores and a budget to the channels that go.

`scope="global"` sorts the scores of all groups together and cuts the lowest share; `"local"` cuts the same share of
every group. In every group the kept count is then rounded up to the target's multiple, at most `max_per_group` goes,
and one channel stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, gcd
from typing import Any, Literal

import numpy as np

from pruneir.coupling import Group
from pruneir.errors import PruneirError
from pruneir.pipeline.passes import Context
from pruneir.selection.candidates import matches
from pruneir.selection.scores import Scores

Removed = dict[Group, np.ndarray]
"""Channels that go, by group."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much goes.

    ratio          share of the channels to cut, 0–1
    macs           instead of a ratio: the share of multiply-accumulates that may be left at most
    scope          one threshold for all groups, or the same share of each
    max_per_group  largest share cut from one group
    multiple       the length that is left of an axis is rounded up to a multiple of this
    ratios         share to cut from particular groups, whatever the scope
    """

    ratio: float = 0.5
    macs: float | None = None
    scope: Literal["global", "local"] = "global"
    max_per_group: float = 0.9
    multiple: int = 1
    ratios: Mapping[Group, float] = field(default_factory=dict)

    @classmethod
    def of(cls, context: Context, groups: Collection[Group], **own: Any) -> Budget:
        """A pass's own options, and what the target and the user's globs say of some groups."""
        ratios = {group: share for glob, share in context.ratios.items() for group in groups if matches(group, [glob])}
        return cls(multiple=context.target.channel_multiple, ratios=ratios, **own)


def choose(
    scores: Scores,
    budget: Budget,
    macs_left: Callable[[Removed], float] | None = None,
    restrictions: Sequence[str] = (),
) -> Removed:
    """The channels that go.

    macs_left  share of multiply-accumulates that a choice would leave; needed for a budget in MACs
    restrictions  options in force that keep channels from going, to name where the budget is out of reach
    """
    if budget.macs is None:
        return _at(scores, budget, budget.ratio)
    assert macs_left is not None
    most = budget.macs
    found = least(scores, budget, lambda removed: macs_left(removed) <= most)
    if (left := macs_left(found)) > most:
        loosen = f", loosen {' and '.join(restrictions)}" if restrictions else ""
        raise PruneirError(
            f"macs={most:g} is out of reach: the largest cut leaves {left:.3g} of the MACs; "
            f"raise macs or max_per_group{loosen}, or free more of the network (see `pruneir explain`)"
        )
    return found


def least(scores: Scores, budget: Budget, fits: Callable[[Removed], bool]) -> Removed:
    """The choice of the least ratio that fits; where none does, all that the budget's caps let go."""
    low, high = 0.0, 1.0
    if fits(nothing := _at(scores, budget, low)):
        return nothing
    if not fits(everything := _at(scores, budget, high)):
        return everything
    for _ in range(ceil(np.log2(max(sum(map(len, scores.values())), 2))) + 1):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(_at(scores, budget, middle)) else (middle, high)
    return _at(scores, budget, high)


def _at(scores: Scores, budget: Budget, ratio: float) -> Removed:
    free = [group for group in scores if group not in budget.ratios]
    counts = {group: floor(len(group) * share + 1e-9) for group, share in budget.ratios.items() if group in scores}
    if budget.scope == "local":
        counts |= {group: floor(len(group) * ratio + 1e-9) for group in free}
    elif free:
        counts |= _below_threshold({group: scores[group] for group in free}, ratio)
    removed = {}
    for group, score in scores.items():
        count = _rounded(group, counts.get(group, 0), budget)
        if count > 0:
            removed[group] = np.sort(np.argsort(score, kind="stable")[:count])
    return removed


def _below_threshold(scores: Mapping[Group, np.ndarray], ratio: float) -> dict[Group, int]:
    """How many channels of each group are among the lowest `ratio` of all, ties broken by position."""
    everything = np.concatenate(list(scores.values()))
    owner = np.repeat(np.arange(len(scores)), [len(s) for s in scores.values()])
    lowest = np.argsort(everything, kind="stable")[: floor(len(everything) * ratio + 1e-9)]
    counts = np.bincount(owner[lowest], minlength=len(scores))
    return {group: int(count) for group, count in zip(scores, counts, strict=True)}


def _rounded(group: Group, cut: int, budget: Budget) -> int:
    size, step = len(group), _step(group, budget.multiple)
    cut = min(cut, floor(size * budget.max_per_group + 1e-9), size - 1)
    return size - min(ceil((size - cut) / step) * step, size)


def _step(group: Group, multiple: int) -> int:
    """The group's channels that make up a multiple on the axis: in 4 blocks, 2 positions each make up 8."""
    return multiple // gcd(multiple, group.repeats)


def why_not_more(groups: Iterable[Group], removed: Removed, budget: Budget) -> dict[str, str]:
    """In words, what stopped groups from losing more, by name; empty if only their scores did."""
    return {group.name: _why_not_more(group, len(removed.get(group, ())), budget) for group in groups}


def _why_not_more(group: Group, cut: int, budget: Budget) -> str:
    size = len(group)
    if cut >= size - 1:
        return "one channel stays"
    if cut == floor(size * budget.max_per_group + 1e-9):
        return f"max_per_group={budget.max_per_group:g}"
    if budget.multiple > 1 and size - cut <= _step(group, budget.multiple):
        return f"the target likes multiples of {budget.multiple}"
    return ""
