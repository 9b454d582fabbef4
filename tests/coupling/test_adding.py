"""The example of docs/adding-an-operator.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from pruneir.coupling import couple
from pruneir.coupling.rule import RULES
from pruneir.graph import Graph, parse

PAGE = Path(__file__).parents[2] / "docs/adding-an-operator.md"


def network() -> Graph:
    graph = parse(
        "x[N,3,8,8] -> y { a = Conv(x, w[6,3,1,1]); b = com.acme::ScaledRelu(a, s[6]); y = Conv(b, v[4,6,1,1]) }"
    )
    graph.declare("b", 1, ["N", 6, 8, 8])
    return graph


def test_an_operator_is_one_rule() -> None:
    before = couple(network())
    assert not before.groups
    assert [refusal.code for refusal in before.traced.refusals] == ["PIR002"]
    try:
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(block, {})
        [group] = couple(network()).groups
        assert sorted((m.use.name, m.axis) for m in group.members) == [("s", 0), ("v", 1), ("w", 0)]
    finally:
        RULES.pop(("com.acme", "ScaledRelu"), None)
