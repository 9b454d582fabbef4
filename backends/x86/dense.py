"""A dense convolution as a kernel: by its taps, or where that is faster by Winograd's method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.backends.x86.conv import Tiled, conv_source
from pruneir.backends.x86.packing import packed
from pruneir.backends.x86.tiling import Geometry, tiling
from pruneir.backends.x86.winograd import Winograd, transformed, winograd, winograd_source, worthwhile


class Direct(Tiled):
    """Summed tap by tap."""

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic."""
        return self.tiling.cycles

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that it reads."""
        g, width = self.geometry, self.tiling.panels * self.tiling.vectors * self.tiling.lanes
        return 4 * g.groups * g.kh * g.kw * g.ic * width

    def source(self, name: str, finish: str) -> str:
        """Its C."""
        return conv_source(name, self.geometry, self.tiling, finish)

    def packed(self, weights: np.ndarray) -> np.ndarray:
        """Float32 [OC, IC, KH, KW] as it reads them."""
        return packed(weights, self.tiling.vectors, self.tiling.lanes, self.tiling.groups)

    def __str__(self) -> str:
        return f"direct {self.tiling}"


@dataclass(frozen=True, slots=True)
class Transformed:
    """By Winograd's method: runtime/winograd.h."""

    geometry: Geometry
    cut: Winograd

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return self.cut.items

    @property
    def scratch(self) -> int:
        """Bytes of private memory that a thread needs."""
        return self.cut.scratch

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic."""
        return self.cut.cycles

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that it reads."""
        width = self.cut.panels * self.cut.vectors * self.cut.lanes
        return 4 * (self.cut.m + 2) ** 2 * self.cut.channels * width

    def source(self, name: str, finish: str) -> str:
        """Its C."""
        return winograd_source(name, self.geometry, self.cut, finish)

    def packed(self, weights: np.ndarray) -> np.ndarray:
        """Float32 [OC, IC, 3, 3], transformed, as it reads them."""
        return transformed(weights, self.cut)

    def __str__(self) -> str:
        return f"winograd {self.cut}"


def dense(geometry: Geometry, lanes: int) -> Direct | Transformed:
    """The kernel of a convolution, for vectors of so many floats."""
    m = worthwhile(geometry, lanes) if geometry.groups == 1 and geometry.grid is None else None
    if m is None:
        return Direct(geometry, tiling(geometry, lanes))
    return Transformed(geometry, winograd(geometry, lanes, m))
