"""Linear operators as one matrix per group, and the rows of their inputs that each output position sees.

    y[row, g, o] = Σ_f X[row, g, f] · M[g, o, f] + bias[g·o]

A row is one output position of one sample. For a convolution f runs over the channels of the group and the taps of the
kernel, and X holds the patch around the position, zero where it reaches into the padding; for a transposed one the
pixels that the position sums over; for a matrix product the channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from pruneir.graph import Graph, Operator

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Rows:
    """Some positions of a linear operator's output.

    sizes  of its axes but the channels'
    at     positions, flat in these sizes
    """

    sizes: tuple[int, ...]
    at: np.ndarray

    def of(self, output: np.ndarray, axis: int) -> np.ndarray:
        """The operator's output there, `[rows, channels]`."""
        where: list[Any] = list(np.unravel_index(self.at, self.sizes))
        where.insert(axis, slice(None))
        return np.asarray(output[tuple(where)])


@dataclass(frozen=True, slots=True)
class Matrix:
    """What one linear operator does, apart from the numbers in its weight.

    shape  of its weight
    """

    operator: Operator
    shape: tuple[int, ...]

    @property
    def is_convolution(self) -> bool:
        """Whether channels are axis 1, with space behind."""
        return self.operator.is_a("Conv", "ConvTranspose")

    @property
    def groups(self) -> int:
        """Groups of a convolution; 1 for a matrix product."""
        return int(self.operator.attribute("group", 1)) if self.is_convolution else 1

    @property
    def channels(self) -> int:
        """Outputs."""
        if self.operator.is_a("ConvTranspose"):
            return self.shape[1] * self.groups
        return self.shape[0] if self.operator.is_a("Conv") or self._transposed else self.shape[1]

    @property
    def features(self) -> int:
        """Length of a row, for one group."""
        return prod(self.shape) // self.channels

    def axis(self, rank: int) -> int:
        """The channel axis of an output of this rank."""
        return 1 if self.is_convolution else rank - 1

    def of(self, weight: np.ndarray) -> np.ndarray:
        """The weight as `[groups, out, features]` in double precision."""
        w = np.asarray(weight, np.float64)
        if self.operator.is_a("Conv"):
            return w.reshape(self.groups, self.shape[0] // self.groups, -1)
        if self.operator.is_a("ConvTranspose"):
            split = w.reshape(self.groups, self.shape[0] // self.groups, self.shape[1], -1)
            return split.transpose(0, 2, 1, 3).reshape(self.groups, self.shape[1], -1)
        return (w if self._transposed else w.T)[None] * self._alpha

    def weight(self, matrix: np.ndarray) -> np.ndarray:
        """The weight that `[groups, out, features]` stands for."""
        if self.operator.is_a("Conv"):
            return matrix.reshape(self.shape)
        if self.operator.is_a("ConvTranspose"):
            split = matrix.reshape(self.groups, self.shape[1], self.shape[0] // self.groups, -1)
            return split.transpose(0, 2, 1, 3).reshape(self.shape)
        w = matrix[0] / self._alpha
        return np.asarray(w if self._transposed else w.T)

    def rows(self, x: np.ndarray, rows: Rows) -> np.ndarray:
        """What these output positions see of the input: `[groups, rows, features]`, in the input's precision."""
        if self.is_convolution:
            seen = self._patches(x, rows)
        else:
            flat = x.T if self.operator.is_a("Gemm") and self.operator.attribute("transA", 0) else x
            seen = flat.reshape(-1, flat.shape[-1])[rows.at]
        return seen.reshape(len(rows.at), self.groups, -1).transpose(1, 0, 2)

    @property
    def _transposed(self) -> bool:
        return bool(self.operator.is_a("Gemm") and self.operator.attribute("transB", 0))

    @property
    def _alpha(self) -> float:
        return float(self.operator.attribute("alpha", 1.0)) if self.operator.is_a("Gemm") else 1.0

    def sizes(self, x: tuple[int, ...]) -> tuple[int, ...]:
        """Those of the output's axes, but the channels', for an input of this shape."""
        if self.is_convolution:
            return x[0], *(self._outputs(axis, size) for axis, size in enumerate(x[2:]))
        return (x[1],) if self.operator.is_a("Gemm") and self.operator.attribute("transA", 0) else x[:-1] or (1,)

    # Convolutions

    def _outputs(self, axis: int, image: int) -> int:
        """Positions along an axis."""
        stride, span = self._along("strides", axis), self._span(axis)
        if self.operator.is_a("Conv"):
            pads = 0 if self._same else self._given("pads", axis) + self._given("pads", axis - len(self.shape[2:]))
            return -(-image // stride) if self._same else (image + pads - span) // stride + 1
        stated = self.operator.attribute("output_shape")
        if stated is not None or self._same:
            return int(stated[axis - len(self.shape[2:])]) if stated is not None else image * stride
        pads = self._given("pads", axis) + self._given("pads", axis - len(self.shape[2:]))
        return self._stretched(axis, image) - pads

    def _stretched(self, axis: int, image: int) -> int:
        """Positions that a transposed convolution has before its pads crop them."""
        return (image - 1) * self._along("strides", axis) + self._given("output_padding", axis) + self._span(axis)

    def _patches(self, x: np.ndarray, rows: Rows) -> np.ndarray:
        """`[rows, channels, taps]`, zero outside of the image."""
        sample, *position = np.unravel_index(rows.at, rows.sizes)
        kernel, image = self.shape[2:], x.shape[2:]
        taps = np.unravel_index(np.arange(prod(kernel)), kernel)
        inside = np.ones((len(rows.at), prod(kernel)), bool)
        where = []
        for axis, (p, tap) in enumerate(zip(position, taps, strict=True)):
            pixel, there = self._pixels(axis, p[:, None], tap, image[axis], rows.sizes[1 + axis])
            inside &= there & (pixel >= 0) & (pixel < image[axis])
            where.append(pixel.clip(0, image[axis] - 1))
        picked: tuple[Any, ...] = (sample[:, None], slice(None), *where)
        seen = x[picked]  # [rows, taps, channels]
        seen[~inside] = 0
        return np.ascontiguousarray(seen.transpose(0, 2, 1))

    def _pixels(
        self, axis: int, position: np.ndarray, tap: np.ndarray, image: int, out: int
    ) -> tuple[np.ndarray, np.ndarray | bool]:
        """The pixel that each tap meets at each output position, and where there is one."""
        stride, dilation = self._along("strides", axis), self._along("dilations", axis)
        begin = self._begin(axis, image, out)
        if self.operator.is_a("Conv"):
            return position * stride - begin + tap * dilation, True
        reached = position + begin - tap * dilation
        return reached // stride, reached % stride == 0

    def _begin(self, axis: int, image: int, out: int) -> int:
        """Padding before the image, or what is cropped before a transposed convolution's output."""
        if self.operator.is_a("Conv"):
            if not self._same:
                return self._given("pads", axis)
            total = (out - 1) * self._along("strides", axis) + self._span(axis) - image
        else:
            if not self._same and self.operator.attribute("output_shape") is None:
                return self._given("pads", axis)
            total = self._stretched(axis, image) - out
        total = max(total, 0)
        upper = self.operator.attribute("auto_pad") == "SAME_UPPER"
        return total // 2 if upper else total - total // 2

    @property
    def _same(self) -> bool:
        return self.operator.attribute("auto_pad") in ("SAME_UPPER", "SAME_LOWER")

    def _span(self, axis: int) -> int:
        """Pixels from the kernel's first tap to its last."""
        return self._along("dilations", axis) * (self.shape[2 + axis] - 1) + 1

    def _along(self, name: str, axis: int) -> int:
        values = self.operator.attribute(name)
        return int(values[axis]) if values else 1

    def _given(self, name: str, axis: int) -> int:
        """Of pads; there are none where `auto_pad` says how to pad."""
        values = self.operator.attribute(name)
        ignored = name == "pads" and self.operator.attribute("auto_pad", "NOTSET") != "NOTSET"
        return int(values[axis]) if values and not ignored else 0


def matrix_of(graph: Graph, operator: Operator) -> Matrix | str:
    """The operator as a matrix, or why it is none."""
    if not operator.is_a(*LINEAR):
        return "it is no convolution and no matrix product"
    weight = graph.constant(operator.inputs[1]) if len(operator.inputs) > 1 else None
    if weight is None:
        return "its weight is computed at run time"
    if weight.dtype.kind not in "fV":
        return "its weight holds integers"
    if not operator.is_a("Conv", "ConvTranspose") and weight.ndim != 2:
        return "its weight is no matrix"
    if operator.is_a("Gemm") and not operator.attribute("alpha", 1.0):
        return "alpha is zero"
    return Matrix(operator, weight.shape)
