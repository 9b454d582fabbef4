"""How the work of a window that slides over an image, channel by channel, is cut: runtime/window.h."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pruneir.backends.x86.tiling import Geometry

_COLUMNS = 64
"""Input columns of a tile, which are unrolled."""
_CHANNELS = 64
"""Of a block that is small: whole lines of the cache, and few rows of the image."""
_L1 = 24 << 10
"""Bytes of the first cache that the rows under a window may take."""


@dataclass(frozen=True, slots=True)
class Window:
    """A cut.

    lanes   floats in a vector
    points  of a register tile
    block   channels that are gone through together, row by row of the output
    """

    geometry: Geometry
    lanes: int
    points: int
    block: int

    @property
    def vectors(self) -> int:
        """Vectors of the output."""
        return self.geometry.points * ceil(self.geometry.oc / self.lanes)

    @property
    def items(self) -> int:
        """Independent shares of the work: rows of blocks."""
        return self.geometry.n * self.geometry.oh * ceil(self.geometry.oc / self.block)

    def macros(self) -> dict[str, object]:
        """What window.h needs."""
        return {**self.geometry.macros(), "TW": self.points, "CB": self.block}

    def __str__(self) -> str:
        return f"{self.points}×{self.block}"


def window(geometry: Geometry, lanes: int, sums: int) -> Window:
    """The cut for vectors of `lanes` floats and at most `sums` points in a tile.

    Where the rows under the window fit into the first cache for a few channels, they are used from there for all taps.
    Else all channels pass at once: that reads memory in order.
    """
    span = (geometry.kw - 1) * geometry.dw + 1
    most = max(1, min(sums, (_COLUMNS - span) // geometry.sw + 1))
    points = ceil(geometry.ow / ceil(geometry.ow / most))
    channels = ceil(geometry.oc / lanes) * lanes
    rows = geometry.kh * geometry.iw * _CHANNELS * 4
    return Window(geometry, lanes, points, min(channels, _CHANNELS) if rows <= _L1 else channels)
