"""Constants without what goes: set to nothing along their axes, and as long as before.

Floats are set to zero, or to one where they divide, are a variance or an exponent; integers that stand for weights to
their zero point, and other integers stay, since they are indices, sizes or zero points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.coupling import Coupling, Use
from pruneir.graph import Graph
from pruneir.tolerance import is_float

Gone = Callable[[Use], Mapping[int, np.ndarray]]
"""The positions that one use of a constant loses: by axis, one truth value a position."""

_TO_ONE = ("divisor", "exponent", "variance")
_WEIGHTS = ("in", "out", "quantized")
"""Roles in which integers stand for weights."""
_ZERO_POINTS_ALONG = {"ConvInteger": 0, "DequantizeLinear": 1, "QLinearConv": 0}
"""The axis of weights that has a zero point for each position, where that is not the last."""


def without(coupling: Coupling, gone: Gone) -> Graph:
    """The network with every constant masked.

    Of uses of one constant that lose different positions, all but the last read a copy, `NAME@NODE`.
    """
    masking = Masking(coupling.graph.copy(), gone)
    for name, uses in coupling.uses_of.items():
        masking.mask(name, uses)
    return masking.graph


@dataclass(frozen=True, slots=True)
class Masking:
    """Sets constants of a graph in place, use by use where uses disagree."""

    graph: Graph
    gone: Gone

    def mask(self, name: str, uses: Sequence[Use]) -> None:
        """Set what the uses of one constant lose."""
        array = self.graph.constant(name)
        if array is None:
            return
        results = [self._masked(array, use) for use in uses]
        if all(np.array_equal(each, results[0], equal_nan=True) for each in results[1:]):
            if results[0] is not array:
                self.graph.define(name, results[0])
            return
        for use, result in zip(uses, results, strict=True):
            if result is not array:
                self.graph.define_for(use.operator, use.slot, result)

    def _masked(self, array: np.ndarray, use: Use) -> np.ndarray:
        """The array as this use reads it; itself where nothing goes."""
        result = array
        for axis, gone in self.gone(use).items():
            role = use.roles.get(axis)
            if is_float(array.dtype) or role in _WEIGHTS:
                result = result.copy() if result is array else result
                at = (slice(None),) * axis + (gone,)
                if is_float(array.dtype):
                    result[at] = 1 if role in _TO_ONE else 0
                else:
                    result[at] = np.broadcast_to(self._zero_point(use, array.shape), array.shape)[at]
        return result

    def _zero_point(self, use: Use, shape: tuple[int, ...]) -> np.ndarray:
        """The integers that stand for zero, as they broadcast against the weights: two inputs further on, if any."""
        operator, slot = use.operator, use.slot + 2
        name = operator.inputs[slot] if slot < len(operator.inputs) else ""
        point = self.graph.constant(name) if name else None
        if point is None or point.size == 1:
            return np.zeros(()) if point is None else point.reshape(())
        axis = operator.attribute("axis", _ZERO_POINTS_ALONG.get(operator.type, -1))
        block = operator.attribute("block_size", 0)
        if block:
            return point.repeat(block, axis).take(range(shape[axis]), axis)
        lengths = [1] * len(shape)
        lengths[axis] = -1
        return point.reshape(lengths)
