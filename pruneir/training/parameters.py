"""Which tensors of a graph are trained, decided by what reads them.

A float tensor is a parameter if every operator that reads it reads it as a weight: the table says in which inputs.
What is not trained: running statistics (the run updates them), scales, bounds, axes and whatever else is read
elsewhere; numbers that stand alone, masks, constants that normalise the data before the first weight, and the zeros
and ones that exporters put where a layer has no weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pruneir.graph import Graph, Operator
from pruneir.tolerance import is_float

WEIGHTS: dict[str, tuple[int, ...]] = {
    "Attention": (0, 1, 2),
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Einsum": tuple(range(8)),
    "GRU": (1, 2, 3, 5),
    "Gather": (0,),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 5, 6, 7),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3, 5),
    "SimplifiedLayerNormalization": (1,),
}
"""Inputs by operator type in which a constant is a weight."""
TERMS = {"Add", "Sub", "Mul", "Div", "Sum", "Concat"}
"""Operators whose constants are weights if they look like some: several finite numbers, behind a weight."""
_ADDED: dict[str, dict[int, float]] = {
    "Conv": {2: 0.0},
    "ConvTranspose": {2: 0.0},
    "GRU": {3: 0.0, 5: 0.0},
    "Gemm": {2: 0.0},
    "InstanceNormalization": {1: 1.0, 2: 0.0},
    "LSTM": {3: 0.0, 5: 0.0, 6: 0.0},
    "RNN": {3: 0.0, 5: 0.0},
}
"""Inputs in which a constant that is this number throughout was put by an exporter, where the layer has no weight.

An InstanceNormalization of ones and zeros is the inside of a GroupNorm.
"""
_PASSING = {"Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Slice"}
"""Operators that hand their first input on: what reads their output reads the tensor."""
_STATISTICS = (3, 4)
_MASK = 1e4
"""Constants as large as this in a sum are masks (the −1e9 before a Softmax)."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Float tensors by what they are: names in the graph's order."""

    weights: list[str]
    scales: list[str]
    statistics: list[str]


def roles(graph: Graph, floats: dict[str, np.ndarray]) -> Roles:
    """What each of a graph's float tensors is; those in no list are plain constants."""
    behind = _behind_weights(graph)
    found = Roles([], [], [])
    for name, array in floats.items():
        reads = list(_reads(graph, name, behind))
        if any(operator.is_a("BatchNormalization") and slot in _STATISTICS for operator, slot in reads):
            found.statistics.append(name)
        elif reads and all(_is_weight(array, operator, slot, behind) for operator, slot in reads):
            found.weights.append(name)
            if any(operator.is_a("BatchNormalization") and slot == 1 for operator, slot in reads):
                found.scales.append(name)
    return found


def untied(graph: Graph) -> Graph:
    """The graph with tensors of their own where Identity operators share one.

    Exporters that store equal tensors once let every further use read it through an Identity: trained as it is, what
    merely began equal would stay equal. Tensors that operators read by one name stay shared.
    """
    result = graph.copy()
    for operator in graph.operators:
        if not operator.is_a("Identity") or operator.outputs[0] in graph.outputs:
            continue
        source = operator.inputs[0]
        array = result.constant(source)
        if array is not None and is_float(array.dtype) and len(result.uses(source)) > 1:
            result.define(operator.outputs[0], array)
    return result


def _reads(graph: Graph, name: str, behind: set[str]) -> Iterator[tuple[Operator, int]]:
    """Every operator that reads a value, and in which input; through operators that hand it on, or put it together."""
    for operator, slot in graph.uses(name):
        joins = operator.is_a("Concat") and behind.isdisjoint(operator.inputs)
        if joins or (slot == 0 and operator.is_a(*_PASSING)):
            if operator.outputs[0] in graph.outputs:
                yield operator, slot
            yield from _reads(graph, operator.outputs[0], behind)
        else:
            yield operator, slot


def _is_weight(array: np.ndarray, operator: Operator, slot: int, behind: set[str]) -> bool:
    if operator.is_a("Shape", "Size"):
        return True
    added = _ADDED.get(operator.type, {}).get(slot)
    if added is not None and (array == added).all():
        return False
    if operator.type in WEIGHTS:
        return slot in WEIGHTS[operator.type]
    if operator.type in TERMS:
        others = [name for index, name in enumerate(operator.inputs) if index != slot]
        return array.size > 1 and not behind.isdisjoint(others) and float(np.abs(array).max()) < _MASK
    return False


def _behind_weights(graph: Graph) -> set[str]:
    """Values that depend on the data, and to which a weight has been applied; shapes depend on no data."""
    data, found = set(graph.data_inputs), set[str]()
    for operator in graph.operators:
        if operator.is_a("Shape", "Size"):
            continue
        made = set(filter(None, operator.outputs))
        weighs = operator.type in WEIGHTS and not (operator.is_a("Gather") and operator.inputs[0] in data)
        if not found.isdisjoint(operator.inputs) or (weighs and not data.isdisjoint(operator.inputs)):
            found |= made
        elif not data.isdisjoint(operator.inputs):
            data |= made
    return found
