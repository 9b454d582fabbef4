"""Channels that are provably constant: the same number at every place of every image, whatever the network is fed.

A filter whose weights are all zero emits its bias; what is done to a constant channel makes a constant again: f(bias).
Where an operator mixes a constant with zero padding, the border differs, and the channel is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pruneir.constants.moments import Estimate, Moments
from pruneir.coupling import Coupling
from pruneir.graph import Operator

_VARYING = 1.0


def exact_constants(coupling: Coupling) -> dict[str, Moments]:
    """The values that have constant channels: these have variance 0 and their number as mean; the others' mean is 0."""
    found = {}
    for name, known in _Exact(coupling).run().items():
        fixed = (known.variance == 0) & np.isfinite(known.mean)
        if fixed.any():
            found[name] = Moments(known.axis, np.where(fixed, known.mean, 0), np.where(fixed, 0, _VARYING))
    return found


def pads_with_zeros(operator: Operator) -> bool:
    """Whether a convolution or pool may see zeros around its input."""
    auto = operator.attribute("auto_pad", "NOTSET")
    return any(operator.attribute("pads", ())) or auto in ("SAME_UPPER", "SAME_LOWER", b"SAME_UPPER", b"SAME_LOWER")


@dataclass(slots=True)
class _Exact(Estimate):
    """Moments, where a variance of 0 is a proof."""

    def _of(self, operator: Operator, slot: int) -> Moments | None:
        found = super(_Exact, self)._of(operator, slot)
        if operator.is_a("Pad") and (operator.attribute("value", 0) or len(operator.inputs) > 2):
            return None
        mixed = operator.is_a("ConvTranspose", "Pad") or (operator.is_a("Conv") and pads_with_zeros(operator))
        return self._zeros(found) if found is not None and mixed else found

    def _is_renormalized(self, operator: Operator) -> bool:
        return False

    def _pointwise(self, operator: Operator) -> Moments | None:
        x, found = self._of(operator, 0), super(_Exact, self)._pointwise(operator)
        if x is None or found is None:
            return None
        fixed = x.variance == 0
        return Moments(found.axis, np.where(fixed, found.mean, 0), np.where(fixed, 0, _VARYING))

    def _same(self, operator: Operator) -> Moments | None:
        found = super(_Exact, self)._same(operator)
        if found is None or operator.is_a("MaxPool", "Identity", "Dropout"):
            return found
        if operator.is_a("AveragePool") and not operator.attribute("count_include_pad", 0):
            return found
        return self._zeros(found)

    def _concat(self, operator: Operator) -> Moments | None:
        shapes = self.coupling.traced.shapes
        whole = shapes.shape(operator.outputs[0])
        sizes = [shapes.shape(name) for name in operator.inputs]
        if whole is None or any(size is None for size in sizes):
            return None
        axis = operator.attribute("axis", 1) % len(whole)
        parts = [self.known.get(n) or _varying(axis, s[axis]) for n, s in zip(operator.inputs, sizes, strict=True) if s]
        if any(part.axis != axis for part in parts):
            return None
        return Moments(axis, np.concatenate([p.mean for p in parts]), np.concatenate([p.variance for p in parts]))

    def _moved(self, operator: Operator, variance: np.ndarray) -> np.ndarray:
        return variance

    def _zeros(self, found: Moments) -> Moments:
        """Only the channels that are zero count as constant."""
        return replace(found, variance=np.where((found.mean == 0) & (found.variance == 0), 0, _VARYING))


def _varying(axis: int, length: int) -> Moments:
    return Moments(axis, np.zeros(length), np.full(length, _VARYING))
