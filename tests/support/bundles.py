"""Many small graphs as one, side by side, so that one firmware computes them all."""

from __future__ import annotations

from collections.abc import Mapping

from pruneir.graph import Graph


def bundled(graphs: Mapping[str, Graph]) -> Graph:
    """One graph of all, every value `NAME` of the graph `KEY` called `KEY/NAME`."""
    first = next(iter(graphs.values()))
    whole = Graph("bundle", first.header)
    for key, graph in graphs.items():

        def named(name: str, key: str = key) -> str:
            return f"{key}/{name}" if name else ""

        for name, array in graph.initializers.items():
            whole.set_initializer(named(name), array)
        for operator in graph.operators:
            inputs, outputs = (tuple(map(named, side)) for side in (operator.inputs, operator.outputs))
            whole.add(operator.with_(inputs=inputs, outputs=outputs, name=named(operator.label)))
        for name in {*graph.inputs, *graph.outputs}:
            kind = graph.type_of(name)
            if kind is not None:
                whole.declare(named(name), kind.elem_type, kind.shape)
        whole.inputs += map(named, graph.inputs)
        whole.outputs += map(named, graph.outputs)
    return whole
