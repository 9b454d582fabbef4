"""How many of a layer's inputs are zero: where they are the winners of a value, which masks in the graph say."""

from __future__ import annotations

import numpy as np

from pruneir.graph import Graph
from pruneir.sparsity.winners import winner_rates

_MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators whose output has the zeros of their input."""


class Rates:
    """The share of inputs that are not zero, of every layer of a graph, by its weights."""

    def __init__(self, graph: Graph):
        self._known: dict[bytes, float] = {}
        if not (rates := winner_rates(graph)):
            return
        for operator in graph.operators:
            weights = graph.constant(operator.inputs[1]) if operator.is_a("Conv", "Gemm", "MatMul") else None
            if weights is not None:
                rate = rates.get(_source(graph, operator.inputs[0]), 1.0)
                for each in (weights, weights.T) if weights.ndim == 2 else (weights,):
                    key = each.tobytes()
                    self._known[key] = max(rate, self._known.get(key, 0.0))

    def of(self, weights: np.ndarray) -> float:
        """That of the layer with these weights, of several the largest; 1 where nothing is known."""
        return self._known.get(weights.tobytes(), 1.0) if self._known else 1.0


def _source(graph: Graph, value: str) -> str:
    """The value whose zeros this one has, as far back as there is one."""
    while (operator := graph.producer(value)) is not None and operator.is_a(*_MOVES):
        value = operator.inputs[0]
    return value
