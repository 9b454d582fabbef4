"""Detectors: everything before their heads may be cut, and what NonMaxSuppression reads stays whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pruneir.coupling import couple
from pruneir.graph import Graph, check
from pruneir.onnx_io import session
from pruneir.pipeline.prepare import folded
from pruneir.surgery import apply
from support.detectors import DETECTORS
from support.properties import assert_pruned_equals_masked, feeds, random_dead

Build = Callable[..., tuple[Graph, list[str]]]


@pytest.mark.parametrize("build", DETECTORS.values(), ids=DETECTORS)
def test_pruned_equals_masked_where_suppression_begins(build: Build) -> None:
    graph = folded(build()[0])
    assert_pruned_equals_masked(graph, seeds=2, noise=3)


@pytest.mark.parametrize("nms", [False, True])
@pytest.mark.parametrize("build", DETECTORS.values(), ids=DETECTORS)
def test_all_but_the_heads_may_be_cut(build: Build, nms: bool) -> None:
    made, heads = build(nms=nms)
    graph = folded(made)
    free = {name for group in couple(graph).groups for name, axis in group.values if axis == 1}
    convolutions = {operator.outputs[0] for operator in graph.operators if operator.is_a("Conv")}
    assert free & convolutions == convolutions - set(heads)


@pytest.mark.parametrize("build", DETECTORS.values(), ids=DETECTORS)
def test_suppression_runs_behind_a_cut(build: Build) -> None:
    """Its inputs are those of the graph that ends before it; what it picks follows from them."""
    whole, ends = (couple(folded(build(nms=nms)[0])) for nms in (True, False))
    assert [len(group) for group in whole.groups] == [len(group) for group in ends.groups]
    cut = apply(whole, random_dead(whole, np.random.default_rng(0))).graph
    check(cut)
    (suppression,) = [operator for operator in cut.operators if operator.is_a("NonMaxSuppression")]
    picked, boxes, scores = session(cut, list(suppression.inputs[:2])).run(None, feeds(cut, 2))
    other = apply(ends, random_dead(ends, np.random.default_rng(0))).graph
    expected = session(other).run(None, feeds(other, 2))
    for found, wanted in zip((boxes, scores), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert picked.shape[1] == 3
