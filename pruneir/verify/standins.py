"""Which values speak for an output that says little of the network's arithmetic.

* An output that ranks or selects (NMS, TopK, ArgMax, thresholds) jumps where two scores are all but equal. What the
  ranking operator reads is compared instead, together with whatever else runs into the output beside it.
* An output that is constant over the data, zero, or saturated (a sigmoid at ±14, where rounding of the largest logits
  shows in all the others) is replaced by what its producer reads; step by step, until values are found that speak.
"""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from pruneir.graph import Graph, Operator

_COMPARING = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_RANKING = ("ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "NonZero", "TopK", "Unique", *_COMPARING)
_LAYOUT = ("Concat", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_PICKING = ("Compress", "Expand", "Gather", "GatherElements", "GatherND", "OneHot", "Split", "Tile")
_ARITHMETIC = ("Add", "And", "Cast", "Div", "Mod", "Mul", "Not", "Or", "ScatterElements", "ScatterND", "Sub", "Where")
_COUNTING = ("ConstantOfShape", "If", "Loop", "ReduceProd", "Shape", "Size")
_FOLLOWING = (*_LAYOUT, *_PICKING, *_ARITHMETIC, *_COUNTING)
_BOUNDS = {
    "HardSigmoid": (0.0, 1.0),
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Softsign": (-1.0, 1.0),
    "Tanh": (-1.0, 1.0),
}


class StandIns:
    """Finds them in one graph."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.varying = _downstream(graph)
        """Values that depend on the data."""
        self._ranked = self._read_by_ranking()

    def before_ranking(self, output: str) -> tuple[str, ...]:
        """The output itself, or what the operators that rank its entries read."""
        return self._ranked.get(output, (output,))

    def upstream(self, value: str) -> tuple[str, ...]:
        """What the producer of a value reads, as far as it depends on the data and is computed."""
        producer = self.graph.producer(value)
        return self._varying(producer.inputs) if producer is not None else ()

    def bounds(self, value: str) -> tuple[float, float] | None:
        """Where the operator that made a value saturates; None if it does not."""
        producer = self.graph.producer(value)
        while producer is not None and producer.is_a(*_LAYOUT):
            producer = self.graph.producer(producer.inputs[0])
        return _BOUNDS.get(producer.type) if producer is not None and producer.is_a(*_BOUNDS) else None

    def _varying(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for n in names if n in self.varying and n not in self.graph.inputs))

    def _read_by_ranking(self) -> dict[str, tuple[str, ...]]:
        """The stand-ins of every value that a ranking operator runs into through operators that only hand it on."""
        found: dict[str, tuple[str, ...]] = {}
        for operator in self.graph.operators:
            if operator.is_a(*_RANKING) or (operator.is_a(*_FOLLOWING) and any(n in found for n in _reads(operator))):
                behind = self._behind(operator, found)
                found |= {name: behind for name in operator.outputs if behind}
        return found

    def _behind(self, operator: Operator, found: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
        names = (each for name in _reads(operator) for each in found.get(name, (name,)))
        return self._varying(names)


def _reads(operator: Operator) -> tuple[str, ...]:
    return (*operator.inputs, *operator.captures)


def _downstream(graph: Graph) -> set[str]:
    layers = nx.bfs_layers(graph.network, [name for name in graph.data_inputs if name in graph.network])
    return {node for layer in layers for node in layer if isinstance(node, str)}
