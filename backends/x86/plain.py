"""Kernels that go through numbers once: elementwise operators on their own, transposes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from pruneir.backends.x86.expressions import Place
from pruneir.backends.x86.template import instance

_ITEMS = 64
"""Shares to cut such work into."""
_BAND = 8
"""Rows that a transpose writes at once."""


@dataclass(frozen=True, slots=True)
class Map:
    """Elementwise operators on their own: runtime/elementwise.h. Pointers: x, y, operands of the epilogue."""

    place: Place
    scratch: int = 0
    cycles: float = 0.0
    weight_bytes: int = 0

    @property
    def points(self) -> int:
        """Runs of channels."""
        return prod(self.place.shape) // max(1, self.place.channels)

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return min(_ITEMS, self.points)

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        macros = {"POINTS": self.points, "OC": self.place.channels, "ITEMS": self.items}
        return instance("elementwise.h", name, finish, macros)


@dataclass(frozen=True, slots=True)
class Transpose:
    """Rows and columns of each sample swapped: runtime/transpose.h. Pointers: x, y."""

    samples: int
    rows: int
    columns: int
    scratch: int = 0
    cycles: float = 0.0
    weight_bytes: int = 0

    @property
    def items(self) -> int:
        """Independent shares of the work: bands of rows of the result."""
        return self.samples * ceil(self.columns / _BAND)

    def source(self, name: str, finish: str = "") -> str:
        """Its C; see `instance`."""
        macros = {"SAMPLES": self.samples, "ROWS": self.rows, "COLUMNS": self.columns, "BAND": _BAND}
        return instance("transpose.h", name, finish, macros)
