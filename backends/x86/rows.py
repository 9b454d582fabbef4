"""Kernels over rows of numbers: softmax, and rows brought to mean 0 and variance 1."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from pruneir.backends.x86.template import instance

_ITEMS = 64
"""Shares to cut such work into."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of `channels` numbers, of which a thread holds one at a time."""

    points: int
    channels: int
    lanes: int

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return min(_ITEMS, self.points)

    @property
    def vectors(self) -> int:
        """Vectors of a row."""
        return ceil(self.channels / self.lanes)

    @property
    def scratch(self) -> int:
        """Bytes of private memory that a thread needs."""
        return 4 * self.lanes * self.vectors


@dataclass(frozen=True, slots=True)
class Softmax(_Rows):
    """The kernel of Softmax or LogSoftmax: runtime/softmax.h. Pointers: x, y, operands of the epilogue."""

    logarithm: bool = False
    weight_bytes: int = 0

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic."""
        return self.points * (22 * self.vectors + 40)

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        macros = {"POINTS": self.points, "OC": self.channels, "ITEMS": self.items, "LOGARITHM": int(self.logarithm)}
        return instance("softmax.h", name, finish, macros)


@dataclass(frozen=True, slots=True)
class Normalizing(_Rows):
    """The kernel of LayerNormalization: runtime/normalize.h. Pointers: x, weights, y, operands of the epilogue."""

    epsilon: float

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic."""
        return self.points * (6 * self.vectors + 60)

    @property
    def weight_bytes(self) -> int:
        """Bytes of scale and shift."""
        return 2 * self.scratch

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        macros = {"POINTS": self.points, "OC": self.channels, "ITEMS": self.items, "EPSILON": f"{self.epsilon!r}f"}
        return instance("normalize.h", name, finish, macros)

    def packed(self, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Scale and shift as it reads them."""
        held = np.zeros((2, self.scratch // 4), np.float32)
        held[:, : self.channels] = scale.ravel(), shift.ravel()
        return held
