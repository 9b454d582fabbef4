"""Shuffled groups over concatenated streams, where blocks begin in the middle of others: ShuffleNet's units."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruneir.cost import prunable_share
from pruneir.coupling import couple
from pruneir.graph import Graph, parse
from support.properties import assert_pruned_equals_masked


def shuffled(x: str, y: str, blocks: int, positions: int) -> str:
    """Channels as blocks × positions, read position by position; an image of 4 × 4."""
    return (
        f"{y}r = Reshape({x}, {{0,{blocks},{positions},4,4}}); {y}t = Transpose({y}r, perm=[0,2,1,3,4])"
        f"; {y} = Reshape({y}t, {{0,{blocks * positions},4,4}})"
    )


# name: (graph, channels of each group in file order, share of the MACs that can be cut)
CASES = {
    # Blocks of 8 over blocks of 6 and of 2: position 8 is position 2 of the second block of 6, so what is left of the
    # 6 positions is their parity, and of the 2 each.
    "a stream that is a concat at odd offsets": (
        "x[N,3,4,4] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(a, w2[12,2,1,1], group=2); c = Concat(b, a, axis=1)"
        "; d = Conv(c, w3[6,8,1,1], group=2); y = Conv(d, w4[4,6,1,1]) }",
        [2, 3],
        1.0,
    ),
    "the same the other way round": (
        "x[N,3,4,4] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(a, w2[12,2,1,1], group=2); c = Concat(a, b, axis=1)"
        "; d = Conv(c, w3[6,8,1,1], group=2); y = Conv(d, w4[4,6,1,1]) }",
        [2, 3],
        1.0,
    ),
    "a residual unit on such a stream": (
        "x[N,3,4,4] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(a, w2[12,2,1,1], group=2); c = Concat(b, a, axis=1)"
        f"; d = Conv(c, w3[16,8,1,1], group=2); {shuffled('d', 's', 2, 8)}; e = Conv(s, k[16,1,1,1], group=16)"
        "; f = Conv(e, w4[16,8,1,1], group=2); g = Add(f, c); y = Conv(g, w5[4,16,1,1]) }",
        [2, 4],
        1.0,
    ),
    # The blocks of 5 and 5 beside a dense 6 have no offset in common: everything is one class but the unit's inside.
    "offsets that leave nothing": (
        "x[N,3,4,4] -> y { a = Conv(x, w1[6,3,1,1]); b = Conv(a, w2[10,3,1,1], group=2); c = Concat(b, a, axis=1)"
        "; d = Conv(c, w3[6,8,1,1], group=2); y = Conv(d, w4[4,6,1,1]) }",
        [3],
        None,
    ),
    "channels beside what they are blocks of": (
        "x[N,3,4,4] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(a, w2[8,1,1,1], group=4); c = Concat(a, b, axis=1)"
        "; y = Conv(c, w3[4,12,1,1]) }",
        [4, 2],
        1.0,
    ),
    "two stages": (
        "x[N,3,4,4] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(a, w2[12,2,1,1], group=2); c = Concat(b, a, axis=1)"
        f"; d = Conv(c, w3[16,8,1,1], group=2); {shuffled('d', 's', 2, 8)}; f = Conv(s, w4[16,8,1,1], group=2)"
        f"; g = Concat(f, c, axis=1); h = Conv(g, w5[8,16,1,1], group=2); {shuffled('h', 'u', 2, 4)}"
        "; i = Conv(u, w6[32,4,1,1], group=2); j = Add(i, g); y = Conv(j, w7[4,32,1,1]) }",
        None,
        1.0,
    ),
}


@pytest.mark.parametrize(("text", "channels", "share"), CASES.values(), ids=CASES)
def test_units(text: str, channels: list[int] | None, share: float | None) -> None:
    coupling = assert_pruned_equals_masked(parse(text))
    if channels is not None:
        assert [len(group) for group in coupling.groups] == channels
    if share is not None:
        assert prunable_share(coupling) == share


@st.composite
def stacks(draw: st.DrawFn) -> Graph:
    """A stem and units of grouped convolution, shuffle and grouped convolution, concatenated or added to their input."""
    blocks = draw(st.sampled_from([2, 3, 4]))
    width, at = blocks * draw(st.integers(1, 4)), "v0"
    lines = [f"v0 = Conv(x, w0[{width},3,1,1])"]
    for unit in range(1, draw(st.integers(1, 4)) + 1):
        inside, added = blocks * draw(st.integers(1, 5)), draw(st.booleans())
        made = width if added else blocks * draw(st.integers(1, 6))
        first = draw(st.sampled_from([1, blocks])) if width % blocks == 0 else 1
        last = blocks if made % blocks == 0 else 1
        lines += [
            f"a{unit} = Conv({at}, p{unit}[{inside},{width // first},1,1], group={first})",
            shuffled(f"a{unit}", f"b{unit}", blocks, inside // blocks),
            f"c{unit} = Conv(b{unit}, q{unit}[{made},{inside // last},1,1], group={last})",
        ]
        order = [at, f"c{unit}"] if draw(st.booleans()) else [f"c{unit}", at]
        lines.append(
            f"v{unit} = " + (f"Add({order[0]}, {order[1]})" if added else f"Concat({', '.join(order)}, axis=1)")
        )
        at, width = f"v{unit}", made if added else width + made
    body = "; ".join([*lines, f"y = Conv({at}, last[3,{width},1,1])"])
    return parse(f"x[N,3,4,4] -> y {{ {body} }}", seed=draw(st.integers(0, 3)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(stacks())
def test_any_stack_of_units(graph: Graph) -> None:
    assert_pruned_equals_masked(graph, seeds=2, alive=False, noise=20)


@pytest.mark.parametrize(("text", "channels", "share"), CASES.values(), ids=CASES)
def test_an_axis_is_in_a_group_once(text: str, channels: list[int] | None, share: float | None) -> None:
    """Also where channels are blocks in one place of it and channels of their own in another."""
    for group in couple(parse(text)).groups:
        assert len({(member.use, member.axis) for member in group.members}) == len(group.members)
        assert len(set(group.values)) == len(group.values)
