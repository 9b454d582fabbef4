"""Recurrent exports make zero states from the batch size; fold leaves them out, and the units can be cut."""

from __future__ import annotations

import numpy as np

from pruneir.graph import parse
from pruneir.pipeline.passes import Context
from pruneir.pipeline.registry import parse_pass
from support.properties import assert_pruned_equals_masked, run

NET = (
    "x[5,N,3] -> y { s = Shape(x); n = Gather(s, {1}, axis=0); t = Concat({1}, n, {6}, axis=0); h = ConstantOfShape(t)"
    "; a, _ = GRU(x, w[1,18,3], r[1,18,6], b[1,36], _, h, hidden_size=6); q = Squeeze(a, {1}); y = MatMul(q, v[6,4]) }"
)


def test_zero_states_go() -> None:
    graph = parse(NET)
    folded = parse_pass("fold").run(graph, Context(graph)).graph
    assert {operator.type for operator in folded.operators} == {"GRU", "Squeeze", "MatMul"}
    for batch in (1, 3):
        np.testing.assert_array_equal(run(folded, batch)[0], run(graph, batch)[0])
    assert [len(group) for group in assert_pruned_equals_masked(folded).groups] == [6]
