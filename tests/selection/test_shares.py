"""From shares of zeros to channels: one τ over all groups, caps, and the search for τ."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.coupling import Group
from pruneir.selection import Budget
from pruneir.selection.choose import Removed
from pruneir.selection.shares import Shares

A, B = Group("a", np.arange(4)), Group("b", np.arange(4, 10))
OF = {A: np.array([0.9, 0.1, 0.8, 0.5]), B: np.array([0.2, 0.7, 0.7, 0.3, 1.0, 0.6])}


@pytest.fixture(autouse=True)
def unrepeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Group, "repeats", 1)


def named(removed: Removed) -> dict[str, list[int]]:
    return {group.name: channels.tolist() for group, channels in removed.items()}


@pytest.mark.parametrize(
    ("least", "budget", "expected"),
    [
        (None, Budget(max_per_group=1), {}),
        (0.7, Budget(max_per_group=1), {"a": [0, 2], "b": [1, 2, 4]}),
        (0.0, Budget(max_per_group=1), {"a": [0, 2, 3], "b": [1, 2, 3, 4, 5]}),  # one channel stays
        (0.0, Budget(max_per_group=0.5), {"a": [0, 2], "b": [1, 2, 4]}),
        (0.5, Budget(max_per_group=1, multiple=2), {"a": [0, 2], "b": [1, 2, 4, 5]}),
        (0.9, Budget(max_per_group=1, ratios={A: 0.75}), {"a": [0, 2, 3], "b": [4]}),
        (None, Budget(max_per_group=1, ratios={A: 0.25}), {"a": [0]}),
    ],
)
def test_channels_from_a_share_on(least: float | None, budget: Budget, expected: dict[str, list[int]]) -> None:
    assert named(Shares(OF, budget).removed(least)) == expected


@pytest.mark.parametrize(("most", "least"), [(0, None), (1, 1.0), (2, 0.9), (3, 0.8), (4, 0.7), (8, 0.3)])
def test_the_largest_that_fits_leaves_few_enough(most: int, least: float | None) -> None:
    shares = Shares(OF, Budget(max_per_group=1))
    assert shares.largest(lambda removed: sum(map(len, removed.values())) >= most) == least


@pytest.mark.parametrize("edge", [2.0, 1.0, 0.65, 0.25, 0.0])
def test_the_smallest_that_is_borne(edge: float) -> None:
    asked: list[float] = []

    def bears(least: float) -> bool:
        asked.append(least)
        return least >= edge

    found = Shares(OF, Budget()).smallest(bears, 10)
    grid = [1.0, 0.9, 0.8, 0.7, 0.7, 0.6, 0.5, 0.3, 0.2]
    assert found == min((least for least in grid if least >= edge), default=None)
    assert len(asked) <= 4
