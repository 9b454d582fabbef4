"""How channels vary together, estimated from the weights alone.

Next to the moments of `pruneir.constants`, which say how each channel varies, a correlation matrix is carried through
the network. Inputs count as white. A convolution with taps W_t turns the covariance C into

    a·Σ_t W_t·C·W_tᵀ + (1 − a)·(Σ_t W_t)·C·(Σ_t W_t)ᵀ,

its taps seen as independent with share a and as equal with share 1 − a. A pointwise function f of Gaussians with means
μ, deviations σ and correlation ρ gives, by Mehler's formula, the covariance Σ_n ρⁿ/n!·c_n·c_n′ with the Hermite
coefficients c_n = E f(μ + σz)·He_n(z); for ReLU this sums to the arc-cosine kernel (Cho and Saul, NIPS 2009). Branches
that are added count as independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import factorial

import numpy as np

from pruneir.calibrate.linear import Matrix, matrix_of
from pruneir.constants import Moments
from pruneir.constants.functions import Functions
from pruneir.constants.moments import POINTWISE
from pruneir.coupling import Coupling
from pruneir.graph import Operator

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(31)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_ORDER = 8
"""Hermite coefficients that are summed."""
_INDEPENDENT = 0.5
"""Share a of a kernel's taps that are seen as independent."""
_WIDEST = 4096
"""Channels beyond which a value's correlation is not formed."""


@dataclass(slots=True)
class Correlations:
    """Correlation matrices of values along their channels, as far as they are known.

    coupling  of the network
    moments   of its values
    """

    coupling: Coupling
    moments: Mapping[str, Moments]
    known: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        functions = Functions(self.coupling.graph.opset())
        for operator in self.coupling.graph.operators:
            found = self._of(operator, functions)
            for name in operator.outputs if found is not None else ():
                moments = self.moments.get(name)
                if found is not None and (moments is None or len(moments.mean) == len(found)):
                    self.known[name] = found

    def covariance(self, name: str) -> np.ndarray | None:
        """`[n, n]` of a value's channels; None if unknown."""
        moments, found = self.moments.get(name), self.known.get(name)
        if moments is None or found is None or len(moments.mean) != len(found):
            return None
        deviation = np.sqrt(moments.variance)
        return np.asarray(found * deviation[:, None] * deviation)

    def _of(self, operator: Operator, functions: Functions) -> np.ndarray | None:
        if operator.is_a("Conv", "Gemm", "MatMul"):
            return self._linear(operator)
        if operator.is_a("BatchNormalization"):
            scale = self.coupling.graph.constant(operator.inputs[1])
            before = self.known.get(operator.inputs[0])
            return None if before is None or scale is None else _signed(before, scale.reshape(-1))
        if operator.is_a("Concat"):
            return self._concat(operator)
        if operator.is_a(*POINTWISE):
            return self._pointwise(operator, functions)
        if operator.is_a("Add", "Sum", "Sub"):
            return self._sum(operator)
        return next((self.known[name] for name in operator.inputs if name in self.known), None)

    def _linear(self, operator: Operator) -> np.ndarray | None:
        graph = self.coupling.graph
        matrix, weight = matrix_of(graph, operator), graph.constant(operator.inputs[1])
        if not isinstance(matrix, Matrix) or weight is None or matrix.channels > _WIDEST:
            return None
        taps = int(np.prod(matrix.shape[2:])) if matrix.is_convolution else 1
        m = matrix.of(weight)
        groups, out, width = m.shape[0], m.shape[1], m.shape[2] // taps
        if groups * width > _WIDEST:
            return None
        given = self.covariance(operator.inputs[0])
        if given is None or len(given) != groups * width:
            given = np.eye(groups * width)
        split = m.reshape(groups, out, width, taps)
        result = np.zeros((groups * out, groups * out))
        for share, parts in ((_INDEPENDENT, np.moveaxis(split, 3, 0)), (1 - _INDEPENDENT, split.sum(axis=3)[None])):
            for part in parts:
                result += share * _carried(part, given)
        return _normalized(result)

    def _pointwise(self, operator: Operator, functions: Functions) -> np.ndarray | None:
        before, moments = self.known.get(operator.inputs[0]), self.moments.get(operator.inputs[0])
        operands = [self.coupling.graph.constant(name) for name in operator.inputs[1:] if name]
        if before is None or moments is None or len(moments.mean) != len(before):
            return before
        if any(operand is None or operand.size > 1 for operand in operands):
            return before
        points = moments.mean + np.sqrt(moments.variance) * _NODES[:, None]
        present = iter(operands)
        given = [points] + [
            np.zeros(0) if not name else np.asarray(next(present), np.float64).reshape(())
            for name in operator.inputs[1:]
        ]
        values = functions.of(operator, given)
        total = np.zeros_like(before)
        for n in range(1, _ORDER + 1):
            hermite = np.polynomial.hermite_e.hermeval(_NODES, [0] * n + [1])
            coefficients = (_WEIGHTS * hermite) @ values
            total += before**n / factorial(n) * coefficients[:, None] * coefficients
        return _normalized(total)

    def _sum(self, operator: Operator) -> np.ndarray | None:
        found = [self.covariance(name) for name in operator.inputs if name in self.known]
        parts = [part for part in found if part is not None]
        if not parts or len(parts) < len(found) or any(part.shape != parts[0].shape for part in parts):
            return None
        return _normalized(np.sum(parts, axis=0))

    def _concat(self, operator: Operator) -> np.ndarray | None:
        sizes = [len(self.moments[name].mean) if name in self.moments else 0 for name in operator.inputs]
        if not all(sizes) or sum(sizes) > _WIDEST:
            return None
        result, start = np.eye(sum(sizes)), 0
        for name, size in zip(operator.inputs, sizes, strict=True):
            if name in self.known:
                result[start : start + size, start : start + size] = self.known[name]
            start += size
        return result


def _carried(part: np.ndarray, given: np.ndarray) -> np.ndarray:
    """What one tap `[groups, out, in]` makes of a covariance."""
    groups, out, width = part.shape
    blocks = given.reshape(groups, width, groups, width)
    left = np.einsum("goi,gihj->gohj", part, blocks, optimize=True)
    found = np.einsum("gohj,hpj->gohp", left, part, optimize=True)
    return np.asarray(found).reshape(groups * out, groups * out)


def _signed(correlation: np.ndarray, scale: np.ndarray) -> np.ndarray | None:
    sign = np.where(scale < 0, -1.0, 1.0)
    return correlation * sign[:, None] * sign if len(sign) == len(correlation) else None


def _normalized(covariance: np.ndarray) -> np.ndarray:
    """The correlation; what does not vary correlates with nothing."""
    deviation = np.sqrt(np.diag(covariance))
    inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    found = covariance * inverse[:, None] * inverse
    np.fill_diagonal(found, 1.0)
    return np.asarray(np.clip(found, -1, 1))
