"""Dropout while a pruned network is retrained (Han et al., NIPS 2015, section 3.2).

A layer that lost connections has less to overfit with, so that its dropout shrinks: D_r = D_o·√(C_ir / C_io), with C_io
the connections of the layer before anything was cut, N_i·N_{i−1}, and C_ir those that are left: entries of its weight
that are not zero. A layer that reads the winners of a value alone, at a rate r, has its dropout times √r (Yang et al.,
2019). Only the graph that is trained has the operators that are put in here; the file has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt

import numpy as np

from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.names import is_called, require_matches
from pruneir.pipeline.plan import Plan
from pruneir.sparsity.winners import winner_rates
from pruneir.training.chosen import names_of
from pruneir.training.options import Training

_DEFAULT = 0.5
"""Of an ONNX Dropout that states no ratio."""


def with_dropout(graph: Graph, training: Training, plan: Plan) -> tuple[Graph, dict[str, float]]:
    """The graph with dropout as a training wants it, and the ratios by the label of the layer behind.

    plan  what was cut of the weights so far
    """
    result, ratios = graph.copy(), {}
    rates = winner_rates(graph) if training.adjust_dropout else {}
    if training.adjust_dropout:
        for operator in graph.operators:
            layer = _layer_behind(graph, operator) if operator.is_a("Dropout") else None
            if layer is not None:
                ratio = _ratio(graph, operator) * _factor(graph, layer, plan, rates)
                result.replace(operator, _dropping(result, operator, ratio))
                ratios[layer.label] = ratio
    if training.dropout:
        for layer in _layers(graph, training.dropout_at):
            ratio = training.dropout * (_factor(graph, layer, plan, rates) if training.adjust_dropout else 1.0)
            slot = 1 - _weight_slot(graph, layer)
            source = layer.inputs[slot]
            dropped = result.fresh_name(f"{layer.label}.dropped")
            result.replace(
                layer,
                _dropping(result, Operator("Dropout", (source,), (dropped,)), ratio),
                layer.with_input(slot, dropped),
            )
            ratios[layer.label] = ratio
    return (result, ratios) if ratios else (graph, {})


def _layers(graph: Graph, globs: tuple[str, ...]) -> list[Operator]:
    """The layers that globs name; without any, every Gemm and MatMul with a constant weight."""
    layers = [op for op in graph.operators if op.is_a("Gemm", "MatMul", "Conv") and _weight_slot(graph, op) >= 0]
    called = {layer: names_of(graph, layer.inputs[_weight_slot(graph, layer)]) | {layer.label} for layer in layers}
    require_matches("dropout_at", globs, {name for names in called.values() for name in names})
    found = [layer for layer in layers if (is_called(called[layer], globs) if globs else not layer.is_a("Conv"))]
    if not found:
        raise PruneirError("dropout: the network has no Gemm or MatMul; name Conv nodes by dropout_at")
    return found


def _layer_behind(graph: Graph, operator: Operator) -> Operator | None:
    """The next layer with a weight behind an operator."""
    waiting = graph.users(operator.outputs[0])
    while waiting:
        found = waiting.pop(0)
        if found.is_a("Gemm", "MatMul", "Conv") and _weight_slot(graph, found) >= 0:
            return found
        waiting += [user for name in found.outputs[:1] for user in graph.users(name)]
    return None


def _weight_slot(graph: Graph, layer: Operator) -> int:
    """The input that is a constant matrix or kernel; −1 if none is."""
    return next((slot for slot in (1, 0) if graph.constant(layer.inputs[slot]) is not None), -1)


def _factor(graph: Graph, layer: Operator, plan: Plan, rates: Mapping[str, float]) -> float:
    """√(connections now / connections before), of a layer, and √(winner rate)."""
    slot = _weight_slot(graph, layer)
    name = layer.inputs[slot]
    weight = graph.constant(name)
    assert weight is not None
    cut = plan.kept.get(name, {})
    before = prod(cut[axis][0] if axis in cut else size for axis, size in enumerate(weight.shape))
    rate = rates.get(layer.inputs[1 - slot], 1.0)
    return sqrt(rate * np.count_nonzero(weight) / before) if before else 1.0


def _ratio(graph: Graph, operator: Operator) -> float:
    if len(operator.inputs) > 1 and operator.inputs[1]:
        given = graph.constant(operator.inputs[1])
        return float(given.reshape(())) if given is not None else _DEFAULT
    return float(operator.attribute("ratio", _DEFAULT))


def _dropping(graph: Graph, operator: Operator, ratio: float) -> Operator:
    """A Dropout with another ratio: an input since opset 12, an attribute before."""
    if graph.opset() < 12:
        return operator.with_attributes(ratio=ratio)
    name = graph.define(graph.fresh_name(f"{operator.outputs[0]}.ratio"), np.array(ratio, np.float32))
    return operator.with_input(1, name)
