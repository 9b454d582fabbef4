"""Several cuts of one pass as one: the plan is that of the cuts, one after the other."""

from __future__ import annotations

import numpy as np

from pruneir.coupling import couple
from pruneir.graph import Graph, parse
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.several import Several
from pruneir.pipeline.structured import removing

# One bias for two layers: a cut of either reads a copy of it.
SOURCE = """
x[N,3,6,6] -> y {
  a = Conv(x, wa[8,3,1,1], s[8]); p = Relu(a); b = Conv(p, wb[8,8,1,1], s); q = Relu(b)
  y = Conv(q, wy[2,8,1,1])
}
"""


def test_plans_of_cuts_compose_and_each_is_to_be_checked() -> None:
    first = parse(SOURCE)
    several, graph, left = Several(couple(first), Plan()), first, {"wa": np.arange(8), "wb": np.arange(8)}
    for name, channels in (("a", [1, 2]), ("b", [0, 7]), ("a", [0])):
        coupling = couple(graph)
        group = next(each for each in coupling.groups if each.name == name)
        result = removing(coupling, {group: np.array(channels)}, {}, absorb_held=False)
        several.cut(graph, result)
        graph = result.graph
        left[f"w{name}"] = np.delete(left[f"w{name}"], channels)
    made = several.result(graph, {"b": "enough"}, [], ["done"])
    assert len(made.cutting) == 3
    assert made.notes == ("done",)
    rows = {row.name: (row.channels_before, row.channels_after, row.note) for row in made.rows}
    assert rows == {"a": (8, 5, ""), "b": (8, 6, "enough")}
    plan = Plan().then(made.cuts, _sizes(first), made.changed, "both", copies=made.copies)
    assert plan.kept.keys() == several.whole.kept.keys()
    np.testing.assert_array_equal(made.cuts["wa"][0], left["wa"])
    np.testing.assert_array_equal(made.cuts["wb"][1], left["wa"])
    np.testing.assert_array_equal(made.cuts["wb"][0], left["wb"])
    for name, axes in plan.kept.items():
        source = first.initializers[made.copies.get(name, name)]
        expected = source[np.ix_(*(axes[a][1] if a in axes else np.arange(n) for a, n in enumerate(source.shape)))]
        np.testing.assert_array_equal(graph.initializers[name], expected)


def _sizes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in graph.initializers.items()}
