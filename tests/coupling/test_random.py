"""Random networks, random cuts: valid, and equal to the masked original."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruneir.coupling import Coupling, couple
from pruneir.graph import Graph
from support.networks import networks
from support.properties import assert_pruned_equals_masked


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_pruned_equals_masked(graph: Graph) -> None:
    assert_pruned_equals_masked(graph, seeds=2, alive=False, noise=20)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.integers(0, 1000))
def test_any_topological_order_gives_the_same_groups(graph: Graph, seed: int) -> None:
    assert _orbits(couple(graph)) == _orbits(couple(_reordered(graph, seed)))


def _orbits(coupling: Coupling) -> set[tuple[tuple[str, int, tuple[int, ...]], ...]]:
    """Every class of every group by where it stands, independent of names and order."""
    return {
        tuple(sorted((m.use.name, m.axis, tuple(np.flatnonzero(m.channel == k).tolist())) for m in group.members))
        for group in coupling.groups
        for k in range(len(group))
    }


def _reordered(graph: Graph, seed: int) -> Graph:
    """The same operators in another topological order."""
    random = np.random.default_rng(seed)
    copy = Graph(graph.name, graph.header)
    copy.inputs, copy.outputs = list(graph.inputs), list(graph.outputs)
    copy.declared, copy.initializers = dict(graph.declared), dict(graph.initializers)
    copy.network.add_nodes_from([*graph.inputs, *graph.outputs, *graph.initializers])
    waiting, known = list(graph.operators), {*graph.inputs, *graph.initializers, ""}
    while waiting:
        ready = [op for op in waiting if set(op.inputs) <= known]
        chosen = ready[int(random.integers(len(ready)))]
        copy.add(chosen)
        known |= set(chosen.outputs)
        waiting.remove(chosen)
    return copy
