"""Linear operators with constant weights, y = W·x + b, that take in an affine change of their outputs or inputs.

Behind the operator, y′ = s·y + t:      W′ = s·W along the output channels,  b′ = s·b + t
Before it, x′ = s·x + t:                W′ = W·s along the input channels,   b′ = b + Σ W·t, if nothing is padded

Conv has W[out, in/group, …], ConvTranspose W[in, out/group, …], Gemm α·A·B + β·C with B[in, out] or, with transB,
B[out, in], and MatMul W[in, out] with the bias in an Add behind it. All in double precision, rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pruneir.folding.affine import Affine
from pruneir.graph import Operator

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear operator's weight and bias in double precision; `bias` is None where it has none."""

    operator: Operator
    weight: np.ndarray
    bias: np.ndarray | None

    def behind(self, affine: Affine) -> Linear:
        """With its outputs scaled and shifted."""
        weight = self.weight * self._along(affine.scale, self._outputs)
        return replace(self, weight=weight, bias=self._shifted(affine.scale, affine.shift))

    def before(self, affine: Affine) -> Linear:
        """With its inputs scaled and shifted; exact where `is_exact_before` says so."""
        scaled = replace(self, weight=self.weight * self._along(affine.scale, self._inputs))
        if not np.any(affine.shift):
            return scaled
        moved = self.weight * self._along(affine.shift, self._inputs)
        return replace(scaled, bias=self._shifted(np.ones(1), self._total(moved)))

    def is_exact_before(self, affine: Affine) -> bool:
        """Whether a shift of the inputs is the same shift of the outputs everywhere: no channel with one is padded."""
        if not np.any(affine.shift) or self.operator.is_a("Gemm", "MatMul"):
            return True
        if self.operator.is_a("Conv") and not self._is_padded():
            return True
        return not np.any(self.weight * self._along(affine.shift, self._inputs))

    @property
    def output_axis(self) -> int | None:
        """The weight's axis of output channels; None where it has those of one group only."""
        return None if self._group > 1 and self.operator.is_a("ConvTranspose") else self._outputs

    @property
    def input_axis(self) -> int | None:
        """The weight's axis of input channels; None where it has those of one group only."""
        return None if self._group > 1 and self.operator.is_a("Conv") else self._inputs

    @property
    def channels(self) -> tuple[int, int]:
        """Inputs and outputs."""
        shape, group = self.weight.shape, self._group
        if self.operator.is_a("Conv"):
            return shape[1] * group, shape[0]
        if self.operator.is_a("ConvTranspose"):
            return shape[0], shape[1] * group
        return shape[self._inputs], shape[self._outputs]

    @property
    def _group(self) -> int:
        return int(self.operator.attribute("group", 1))

    @property
    def _outputs(self) -> int:
        transposed = self.operator.is_a("Gemm") and self.operator.attribute("transB", 0)
        return 0 if self.operator.is_a("Conv") or transposed else 1

    @property
    def _inputs(self) -> int:
        return 1 - self._outputs

    def _along(self, numbers: np.ndarray, axis: int) -> np.ndarray:
        """Numbers for each channel, in a shape that multiplies the weight."""
        group = self._group if self.operator.is_a("Conv", "ConvTranspose") else 1
        tail = (1,) * (self.weight.ndim - 2)
        if numbers.size == 1 or axis == 0:
            return numbers.reshape(-1, 1, *tail)
        rows = numbers.reshape(group, 1, -1)  # axis 1 is the same for all rows of a group
        rows = np.broadcast_to(rows, (group, self.weight.shape[0] // group, rows.shape[2]))
        return rows.reshape(self.weight.shape[0], -1, *tail)

    def _total(self, weight: np.ndarray) -> np.ndarray:
        """A number for each output: the sum of the weight over inputs and kernel."""
        kernel = tuple(range(2, weight.ndim))
        if self.operator.is_a("ConvTranspose"):
            grouped = weight.sum(kernel).reshape(self._group, -1, weight.shape[1])
            return np.asarray(grouped.sum(1).reshape(-1))
        alpha = float(self.operator.attribute("alpha", 1.0)) if self.operator.is_a("Gemm") else 1.0
        return np.asarray(alpha * weight.sum((self._inputs, *kernel)))

    def _shifted(self, scale: np.ndarray, shift: np.ndarray) -> np.ndarray | None:
        """The bias, scaled and shifted; Gemm's with β in it."""
        if self.bias is None:
            return np.broadcast_to(shift, (self.channels[1],)) if np.any(shift) else None
        beta = float(self.operator.attribute("beta", 1.0)) if self.operator.is_a("Gemm") else 1.0
        bias = beta * self.bias * scale + shift
        return np.broadcast_to(bias, (self.channels[1],)) if bias.ndim < 2 else bias

    def _is_padded(self) -> bool:
        if self.operator.attribute("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
            return any(n > 1 for n in self.weight.shape[2:])
        return any(self.operator.attribute("pads", ()))
