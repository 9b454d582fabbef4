"""Phases: groups front to back, in runs of equal weight or by globs."""

from __future__ import annotations

import pytest

from pruneir.coupling import couple
from pruneir.errors import PruneirError
from pruneir.graph import parse
from pruneir.selection.phases import by_globs, by_size

# Weights that each group makes: 8·1, 8·8, 16·8, 32·16; the last also those of the head that stays, 3·32.
CHAIN = """
x[N,1,6,6] -> y {
  a = Conv(x, wa[8,1,1,1]); b = Conv(a, wb[8,8,1,1]); c = Conv(b, wc[16,8,1,1]); d = Conv(c, wd[32,16,1,1])
  y = Conv(d, wy[3,32,1,1])
}
"""


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (1, ["a b c d"]),
        (2, ["a b c", "d"]),
        (3, ["a b", "c", "d"]),
        (4, ["a", "b", "c", "d"]),
        (9, ["a", "b", "c", "d"]),
    ],
)
def test_runs_are_as_even_as_can_be(count: int, names: list[str]) -> None:
    coupling = couple(parse(CHAIN))
    found = by_size(coupling, coupling.groups, count)
    assert [" ".join(group.name for group in phase) for phase in found] == names


def test_no_groups_are_no_phases() -> None:
    assert by_size(couple(parse("x[N,3] -> y { y = Relu(x) }")), [], 4) == []


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["[ab]", "[cd]"], ["a b", "c d"]),
        (["d;a", "*"], ["a d", "b c"]),
        (["c"], ["c"]),
        (["wb"], ["b"]),
        (["a", "a;b"], ["a", "b"]),
    ],
)
def test_globs(given: list[str], names: list[str]) -> None:
    found = by_globs(couple(parse(CHAIN)).groups, given)
    assert [" ".join(group.name for group in phase) for phase in found] == names


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["e"], "no group of channels is called 'e'; groups are a, b, c, d"),
        (["*;nothing"], "no group of channels is called 'nothing'; groups are a, b, c, d"),
        (["*", "a"], "all that 'a' matches is already in an earlier phase"),
        (["a", "a"], "all that 'a' matches is already in an earlier phase"),
        (["y"], "no group of channels is called 'y'"),
    ],
)
def test_a_glob_that_finds_nothing(given: list[str], told: str) -> None:
    groups = couple(parse(CHAIN)).groups
    for first in ([], groups):
        with pytest.raises(PruneirError, match=f"phases: {told}"):
            by_globs(groups, given, first)


def test_a_group_of_which_one_channel_is_left_is_known() -> None:
    first, now = (
        couple(parse(text)).groups for text in (CHAIN, CHAIN.replace("[8,8,", "[1,8,").replace("[16,8,", "[16,1,"))
    )
    assert [group.name for group in now] == ["a", "c", "d"]
    found = by_globs(now, ["a", "b", "a;b;c"], first)
    assert [[group.name for group in phase] for phase in found] == [["a"], [], ["c"]]
    with pytest.raises(PruneirError, match="no group of channels is called 'b'"):
        by_globs(now, ["b"])
