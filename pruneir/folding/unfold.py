"""A BatchNormalization behind a linear operator that changes nothing: its scale is the spread of what it normalizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.errors import Refusal
from pruneir.folding.affine import PLAIN, plain
from pruneir.folding.edit import only_user
from pruneir.folding.linear import LINEAR
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes

_SMALL = 1e-10
"""ε as a part of the mean variance of the channels: a constant channel's scale is nothing beside the others'."""
_TINY = 1e-12
"""ε where no channel varies."""
_HALF_BITS = 5
"""Bits of a scale in float16: its square is a float16 number too, if it is no smaller than this."""
_HALF_LEAST = 2.0**-7
_BENDING = ("Clip", "HardSigmoid", "HardSwish", "Sigmoid", "Softmax", "Tanh")
_INFERENCE_FLAG = 7
"""Before this version of the operator set, `is_test` says that statistics are given."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a BatchNormalization goes: behind the value that a linear operator, and its bias, make."""

    operator: Operator
    value: str


def places(graph: Graph, shapes: Shapes) -> tuple[list[Place], list[Refusal]]:
    """Where linear operators have no BatchNormalization behind them, and where none can be."""
    found, refusals = [], []
    for operator in graph.operators:
        if operator.is_a(*LINEAR):
            place = _place(graph, shapes, operator)
            found += [place] if isinstance(place, Place) else []
            refusals += [place] if isinstance(place, Refusal) else []
    return found, refusals


def is_gate(graph: Graph, value: str) -> bool:
    """Whether a value is bent between bounds and then multiplies another activation, as squeeze-and-excitation does.

    Its spread says nothing of the channels that it opens and closes.
    """
    bent = False
    user = only_user(graph, value)
    while user is not None:
        operands = [name for name in user.inputs if name and graph.constant(name) is None]
        if user.is_a("Mul") and len(operands) == 2:
            return bent
        if len(operands) != 1 or len(user.outputs) != 1 or user.is_a(*LINEAR):
            return False
        bent |= user.is_a(*_BENDING)
        user = only_user(graph, user.outputs[0])
    return False


def insert(graph: Graph, place: Place, mean: np.ndarray, variance: np.ndarray) -> tuple[str, ...] | Refusal:
    """Put y = γ·(x − μ)/√(σ² + ε) + β with γ = √(σ² + ε) and β = μ behind a value; the names of its parameters.

    mean, variance   `[channels]` of the value, over data
    The value's name stays that of the result.
    """
    label, dtype = place.operator.label, dtype_of(graph, place.operator)
    parameters, epsilon = _parameters(mean, variance, dtype)
    if not all(np.isfinite(numbers).all() for numbers in parameters.values()):
        return Refusal("PIR026", label, "has outputs over the data that are too large, infinite or undefined")
    producer = graph.producer(place.value)
    assert producer is not None
    inner = graph.fresh_name(f"{label}.linear")
    names = []
    for word, numbers in parameters.items():
        names.append(graph.define(graph.fresh_name(f"{label}.bn.{word}"), numbers))
    flag = {"is_test": 1} if graph.opset() < _INFERENCE_FLAG else {}
    norm = Operator("BatchNormalization", (inner, *names), (place.value,), {"epsilon": epsilon, **flag}, f"{label}.bn")
    renamed = tuple(inner if name == place.value else name for name in producer.outputs)
    graph.replace(producer, producer.with_(outputs=renamed), norm)
    return tuple(names)


def _place(graph: Graph, shapes: Shapes, operator: Operator) -> Place | Refusal | None:
    """Behind a linear operator and the bias that is added to it; None where a BatchNormalization is already."""
    value = operator.outputs[0]
    shape = shapes.shape(value)
    if len(operator.inputs) < 2 or graph.constant(operator.inputs[1]) is None:
        return Refusal("PIR023", operator.label, f"{operator.type} has weights that are computed at run time")
    if dtype_of(graph, operator) not in (np.float16, np.float32, np.float64):
        return Refusal("PIR025", operator.label, f"computes in {dtype_of(graph, operator)}, not in float16 to 64")
    if shape is None or len(shape) < 2:
        return Refusal("PIR007", operator.label, f"the shape of '{value}' is not known, nor its channels")
    rank, channels = len(shape), shape[1]
    if operator.is_a("MatMul") and rank > 2:
        return Refusal("PIR025", operator.label, "MatMul has its channels on the last axis, not on axis 1")
    while True:
        if any(user.is_a("BatchNormalization") for user in graph.users(value)):
            return None
        user = only_user(graph, value)
        step = None if user is None or not user.is_a(*PLAIN) else plain(graph, user, value, rank, channels)
        if user is None or step is None or shapes.shape(user.outputs[0]) != shape:
            return Place(operator, value)
        value = user.outputs[0]


def _parameters(
    mean: np.ndarray, variance: np.ndarray, dtype: np.dtype[np.generic]
) -> tuple[dict[str, np.ndarray], float]:
    """γ, β, μ and σ² of a type, such that γ/√(σ² + ε) is 1 within the rounding of float32, and ε."""
    level = float(np.mean(variance))
    if dtype == np.float16:
        epsilon = _TINY
        spread = np.maximum(np.sqrt(variance), _HALF_LEAST * max(np.sqrt(level), 1))
        fraction, power = np.frexp(spread)
        scale = np.ldexp(np.round(fraction * 2**_HALF_BITS), power - _HALF_BITS)
        variance = scale**2
    else:
        epsilon = float(np.float32(_SMALL * level or _TINY))
        scale = np.sqrt(variance.astype(dtype).astype(np.float64) + epsilon)
    with np.errstate(over="ignore"):
        found = {"scale": scale, "bias": mean, "mean": mean, "var": variance}
        return {word: numbers.astype(dtype) for word, numbers in found.items()}, epsilon


def dtype_of(graph: Graph, operator: Operator) -> np.dtype[np.generic]:
    """The type of a linear operator's weights."""
    weights = graph.constant(operator.inputs[1])
    assert weights is not None
    return weights.dtype
