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
    ],
)
def test_globs(given: list[str], names: list[str]) -> None:
    found = by_globs(couple(parse(CHAIN)).groups, given)
    assert [" ".join(group.name for group in phase) for phase in found] == names


@pytest.mark.parametrize("given", [["e"], ["*", "a"]])
def test_a_glob_that_finds_nothing(given: list[str]) -> None:
    with pytest.raises(
        PruneirError, match=f"phases: no group of channels is called '{given[-1]}'; those that are left"
    ):
        by_globs(couple(parse(CHAIN)).groups, given)
