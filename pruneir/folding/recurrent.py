"""Initial states that are zero, which is what an absent one is."""

from __future__ import annotations

import numpy as np

from pruneir.folding.sizes import Samples
from pruneir.graph import Graph, Operator

_HANDING_ON = ("Cast", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze")


def drop_zero_state(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """LSTM(x, w, r, b, s, 0, 0) -> LSTM(x, w, r, b, s): exporters make the zeros from the batch size at run time."""
    new = operator
    for slot in range(5, min(7, len(operator.inputs))):
        if operator.inputs[slot] and _is_zero(graph, operator.inputs[slot]):
            new = new.with_input(slot, "")
    if new is operator:
        return ()
    graph.replace(operator, new)
    return tuple(filter(None, operator.inputs[:1]))


def _is_zero(graph: Graph, name: str) -> bool:
    array = graph.constant(name)
    if array is not None:
        return not np.any(array)
    producer = graph.producer(name)
    if producer is None:
        return False
    if producer.is_a("ConstantOfShape"):
        return not np.any(producer.attribute("value", 0))
    if producer.is_a("Concat"):
        return all(_is_zero(graph, each) for each in producer.inputs)
    return producer.is_a(*_HANDING_ON) and _is_zero(graph, producer.inputs[0])
