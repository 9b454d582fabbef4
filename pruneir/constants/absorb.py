"""Absorption: a removed channel is held at the constant that it would have had, inside its consumers' biases.

A consumer that summed over channel c gains b_o += Σ_c r_c · Σ_taps W[o, c, tap] (Liu et al., ICCV 2017, drop the term;
see docs/absorption.md for what that costs). The sum goes, in this order of preference: into the running mean of a
BatchNorm that alone reads the consumer, which keeps the file's parameters as they are; into the bias; into a constant
added right behind; into a new bias. Exact where no zero padding is seen; the border differs, since the padding of a
removed channel is read as r_c too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pruneir.constants.linear import Linear, linear
from pruneir.constants.moments import Moments
from pruneir.coupling import Coupling, Cut
from pruneir.graph import Graph, Operator

Held = Mapping[tuple[Operator, int, int], np.ndarray]
"""Constants of removed channels by reader: operator, input slot, axis → `[n]`, zero where a channel stays."""


@dataclass(frozen=True, slots=True)
class Absorbed:
    """What absorption did.

    changed  initializers whose values it changed
    """

    changed: frozenset[str]


def held_constants(coupling: Coupling, cut: Cut, moments: Mapping[str, Moments]) -> Held:
    """The constants at which readers hold the channels that they lose; a reader that cannot is left out."""
    held: dict[tuple[Operator, int, int], np.ndarray] = {}
    for reading in coupling.traced.readings:
        if not cut.touches(reading.labels):
            continue
        known = moments.get(reading.operator.inputs[reading.slot])
        matrix = linear(coupling.graph, reading.operator)
        if known is None or known.axis != reading.axis or matrix is None or not matrix.exact or reading.slot:
            continue
        constants = np.where(cut.mask(reading.labels), 0.0, known.mean)
        constants[~np.isfinite(constants)] = 0.0
        if constants.any():
            held[reading.operator, reading.slot, reading.axis] = constants
    return held


def absorb(coupling: Coupling, cut: Cut, held: Held, graph: Graph) -> Absorbed:
    """Add what held channels contribute to their consumers in the graph after surgery, in place.

    coupling, cut  of the graph before
    graph          the graph after; values keep their names
    """
    changed: set[str] = set()
    for (operator, _, _), constants in held.items():
        matrix = linear(coupling.graph, operator)
        assert matrix is not None
        kept = _outputs_kept(coupling, cut, operator, matrix)
        now = graph.producer(operator.outputs[0])
        if kept is not None and now is not None:
            changed.add(add_to_outputs(graph, now, matrix.of(constants)[kept]))
    return Absorbed(frozenset(changed))


def _outputs_kept(coupling: Coupling, cut: Cut, operator: Operator, matrix: Linear) -> np.ndarray | None:
    state = coupling.traced.values[operator.outputs[0]]
    axis = 1 if operator.is_a("Conv") else len(state.labels) - 1
    labels = state.labels[axis]
    return cut.mask(labels) if labels is not None else None


@dataclass(frozen=True, slots=True)
class Carrier:
    """The constant that takes what is added to an operator's outputs: `factor` of it per channel.

    operator  the one that reads the constant: the linear operator itself, or what alone reads it
    """

    operator: Operator
    slot: int
    factor: float


def carrier(graph: Graph, operator: Operator, channels: int) -> Carrier | None:
    """Where to add a constant per output channel of a linear operator; None if a new constant is needed."""
    readers = graph.uses(operator.outputs[0])
    behind, slot = readers[0] if len(readers) == 1 and operator.outputs[0] not in graph.outputs else (None, -1)
    if not operator.is_a("MatMul") and behind is not None and behind.is_a("BatchNormalization") and slot == 0:
        mean = graph.constant(behind.inputs[3])
        if mean is not None and not behind.attribute("training_mode", 0):
            return Carrier(behind, 3, -1.0)
    if not operator.is_a("MatMul") and len(operator.inputs) > 2 and operator.inputs[2]:
        beta = operator.attribute("beta", 1.0) if operator.is_a("Gemm") else 1.0
        if beta and graph.constant(operator.inputs[2]) is not None:
            return Carrier(operator, 2, 1.0 / beta)
    if behind is not None and behind.is_a("Add") and slot >= 0:
        other = graph.constant(behind.inputs[1 - slot])
        if other is not None and other.shape[-_space(graph, operator) - 1 :] == _lengths(graph, operator, channels):
            return Carrier(behind, 1 - slot, 1.0) if other.size == channels else None
    return None


def add_to_outputs(graph: Graph, operator: Operator, amount: np.ndarray) -> str:
    """Add a constant per output channel to what a linear operator computes, in place.

    amount  `[channels]`; the name of the initializer that took it is returned
    """
    found = carrier(graph, operator, len(amount))
    if found is not None:
        given = amount * found.factor
        if found.operator is not operator and found.operator.is_a("Add"):
            given = given.reshape(_lengths(graph, operator, len(amount)))
        return _shift(graph, found.operator, found.slot, given)
    if not operator.is_a("MatMul") and not (len(operator.inputs) > 2 and operator.inputs[2]):
        weight = graph.constant(operator.inputs[1])
        assert weight is not None
        name = graph.define(graph.fresh_name(f"{operator.label}.bias"), amount.astype(weight.dtype))
        graph.replace(operator, operator.with_input(2, name).with_attributes(**_no_beta(operator)))
        return name
    return _add_behind(graph, operator, amount)


def _space(graph: Graph, operator: Operator) -> int:
    """How many axes an operator's output has behind its channels."""
    weight = graph.constant(operator.inputs[1])
    return weight.ndim - 2 if weight is not None and operator.is_a("Conv", "ConvTranspose") else 0


def _lengths(graph: Graph, operator: Operator, channels: int) -> tuple[int, ...]:
    """The shape of a constant per channel that broadcasts against the operator's output."""
    return (channels, *(1,) * _space(graph, operator))


def _shift(graph: Graph, operator: Operator, slot: int, amount: np.ndarray) -> str:
    """Add to a constant that an operator reads, copied first if others read it too."""
    array = graph.constant(operator.inputs[slot])
    assert array is not None
    return graph.define_for(operator, slot, (array.astype(np.float64) + amount).astype(array.dtype))


def _add_behind(graph: Graph, operator: Operator, amount: np.ndarray) -> str:
    """Let the operator define a new value, and an Add the old one."""
    weight = graph.constant(operator.inputs[1])
    assert weight is not None
    out, *others = operator.outputs
    name, inner = graph.fresh_name(f"{operator.label}.bias"), graph.fresh_name(f"{out}.linear")
    graph.define(name, amount.astype(weight.dtype).reshape(_lengths(graph, operator, len(amount))))
    add = Operator("Add", (inner, name), (out,), name=f"{operator.label}.add")
    graph.replace(operator, operator.with_(outputs=(inner, *others)), add)
    return name


def _no_beta(operator: Operator) -> dict[str, None]:
    return {"beta": None} if operator.is_a("Gemm") else {}
