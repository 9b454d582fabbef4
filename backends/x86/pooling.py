"""Max and average pooling, over windows and over whole images: runtime/pooling.h and runtime/mean.h for one layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pruneir.backends.x86.template import instance
from pruneir.backends.x86.tiling import Geometry
from pruneir.backends.x86.windows import Window, window

_SUMS = {8: 8, 16: 14}
"""Points of a tile by floats in a vector."""
_BLOCK = 64
"""Channels of an item of mean.h."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """The kernel of MaxPool or AveragePool; make it with `pooling`.

    maximum  the largest, else the mean
    padded   whether a mean counts padding (ONNX: count_include_pad), of which there are `pb` rows below and `pr`
             columns on the right; a window that `ceil_mode` moves beyond that counts nothing there

    Pointers: x [N, IH, IW, C], y [N, OH, OW, C], operands of the epilogue.
    """

    window: Window
    maximum: bool
    padded: bool
    pb: int
    pr: int
    scratch: int = 0
    weight_bytes: int = 0

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return self.window.items

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic: the rows of each column that a point begins, then the columns of the point."""
        g = self.window.geometry
        return self.window.vectors * (g.kh * g.sw + g.kw)

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        kind = {"MAXIMUM": int(self.maximum), "PADDED": int(self.padded), "PB": self.pb, "PR": self.pr}
        return instance("pooling.h", name, finish, {**self.window.macros(), **kind})


def pooling(
    geometry: Geometry, lanes: int, *, maximum: bool, padded: bool = False, pb: int = 0, pr: int = 0
) -> Pooling:
    """The kernel for vectors of 8 or 16 floats; every window must touch the image."""
    return Pooling(window(geometry, lanes, _SUMS.get(lanes, min(_SUMS.values()))), maximum, padded, pb, pr)


@dataclass(frozen=True, slots=True)
class GlobalPooling:
    """The kernel of the mean or the maximum over all points of each image.

    Pointers: x [images, points, channels], y [images, channels], operands of the epilogue, whose point is the image.
    """

    images: int
    points: int
    channels: int
    maximum: bool = False
    scratch: int = 0
    cycles: float = 0.0
    weight_bytes: int = 0

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return self.images * ceil(self.channels / _BLOCK)

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        macros = {"POINTS": self.points, "OC": self.channels, "MAXIMUM": int(self.maximum)}
        return instance("mean.h", name, finish, macros)
