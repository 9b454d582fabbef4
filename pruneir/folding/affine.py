"""Operators that scale and shift every channel, y = s·x + t, and chains of them.

    BatchNormalization     s = γ / √(σ² + ε),  t = β − μ·s
    Mul, Div, Add, Sub     by a constant that has one number for each channel, or one for all
    Identity               s = 1, t = 0

Two in a row are one: s₂(s₁x + t₁) + t₂ = s₂s₁·x + (s₂t₁ + t₂). All in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.errors import Refusal
from pruneir.graph import Graph, Operator

PLAIN = ("Identity", "Mul", "Div", "Add", "Sub")


@dataclass(frozen=True, slots=True)
class Affine:
    """y = scale·x + shift; arrays of one number for each channel, or one for all."""

    scale: np.ndarray
    shift: np.ndarray

    def then(self, other: Affine) -> Affine:
        """Both, one after the other."""
        return Affine(other.scale * self.scale, other.scale * self.shift + other.shift)


UNCHANGED = Affine(np.ones(1), np.zeros(1))


def batch_norm(graph: Graph, operator: Operator) -> Affine | Refusal:
    """What a BatchNormalization does at inference."""
    label = operator.label
    if operator.attribute("training_mode", 0) or any(operator.outputs[1:]):
        return Refusal("PIR024", label, "takes the statistics of its own batch (training mode)", _EXPORT)
    if not operator.attribute("spatial", 1):
        return Refusal("PIR024", label, "normalizes every position with parameters of its own (spatial=0)")
    parameters = [graph.constant(name) for name in operator.inputs[1:5]]
    if any(array is None for array in parameters):
        return Refusal("PIR023", label, "has parameters that are computed at run time", _EXPORT)
    gamma, beta, mean, variance = (array.astype(np.float64) for array in parameters if array is not None)
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + float(operator.attribute("epsilon", 1e-5)))
        found = Affine(scale, beta - mean * scale)
    if not (np.isfinite(found.scale).all() and np.isfinite(found.shift).all()):
        return Refusal("PIR026", label, "has parameters that make its scale or shift infinite or undefined")
    return found


_EXPORT = "Export the model for inference, with constant parameters"


def plain(graph: Graph, operator: Operator, value: str, rank: int, channels: int) -> Affine | None:
    """What an elementwise operator with a constant per channel does to `value`; None for any other.

    Channels are axis 1 of the `rank` axes.
    """
    if operator.is_a("Identity"):
        return UNCHANGED
    if len(operator.inputs) != 2 or operator.inputs.count(value) != 1 or not operator.is_a(*PLAIN):
        return None
    slot = operator.inputs.index(value)
    array = graph.constant(operator.inputs[1 - slot])
    number = None if array is None else _per_channel(array, rank)
    if number is None or number.size not in (1, channels):
        return None
    one, zero = np.ones_like(number), np.zeros_like(number)
    match operator.type:
        case "Add":
            return Affine(one, number)
        case "Sub":
            return Affine(one, -number) if slot == 0 else Affine(-one, number)
        case "Mul":
            return Affine(number, zero)
        case "Div" if slot == 0 and np.all(number):
            return Affine(1 / number, zero)
    return None


def _per_channel(array: np.ndarray, rank: int) -> np.ndarray | None:
    """A constant as numbers along axis 1 of a tensor of that rank; None if it varies along another axis, has more axes
    than the tensor, or is no float."""
    shape = (1,) * (rank - array.ndim) + array.shape
    if array.dtype.kind in "iubO" or len(shape) != rank or any(n != 1 for axis, n in enumerate(shape) if axis != 1):
        return None
    return np.asarray(array.reshape(-1), np.float64)
