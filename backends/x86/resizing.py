"""Resizing of images, nearest and linear: runtime/resize.h for one layer.

What ONNX's Resize says of coordinates becomes a table of `Tap`s for each axis, in float32 as ONNX Runtime does, so
that both choose the same neighbour where a coordinate lies between two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pruneir.backends.x86.template import instance
from pruneir.errors import PruneirError

Places = np.ndarray
"""Float32 places on an axis."""


@dataclass(frozen=True, slots=True)
class Tap:
    """What one output row or column is made of: it lies `share` of the way from input place `low` to `high`."""

    low: int
    high: int
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    size, resized  places of the input and of the output
    scale          as the operator gives it, else resized / size
    """

    size: int
    resized: int
    scale: float


def _symmetric(at: Places, axis: Axis) -> Places:
    whole = np.float32(axis.resized) / np.float32(axis.scale * axis.size)
    return np.float32(axis.size / 2) * (1 - whole) + _half_pixel(at, axis)


def _half_pixel(at: Places, axis: Axis) -> Places:
    return (at + np.float32(0.5)) / np.float32(axis.scale) - np.float32(0.5)


COORDINATES: Mapping[str, Callable[[Places, Axis], Places]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": lambda at, axis: _half_pixel(at, axis) if axis.resized > 1 else at * 0,
    "align_corners": lambda at, axis: at * np.float32(axis.size - 1) / np.float32(max(axis.resized - 1, 1)),
    "asymmetric": lambda at, axis: at / np.float32(axis.scale),
}
"""Where output places lie on the input, by coordinate_transformation_mode."""

ROUNDING: Mapping[str, Callable[[Places], Places]] = {
    "round_prefer_floor": lambda at: np.ceil(at - np.float32(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""Which neighbour is nearest, by nearest_mode."""


def taps(axis: Axis, coordinates: str, nearest: str = "") -> tuple[Tap, ...]:
    """What each output place is made of.

    coordinates  of `COORDINATES`
    nearest      of `ROUNDING`; empty: linear

    PruneirError for a mode that is none of these.
    """
    for mode, known in ((coordinates, COORDINATES), (nearest or "floor", ROUNDING)):
        if mode not in known:
            raise PruneirError(f"Resize: no mode '{mode}' on x86; there are {', '.join(known)}")
    at = COORDINATES[coordinates](np.arange(axis.resized, dtype=np.float32), axis)
    if nearest:
        low = np.clip(ROUNDING[nearest](at), 0, axis.size - 1).astype(int)
        return tuple(Tap(int(place), int(place)) for place in low)
    at = np.clip(at, 0, axis.size - 1)
    return tuple(Tap(int(place), min(int(place) + 1, axis.size - 1), float(place - int(place))) for place in at)


@dataclass(frozen=True, slots=True)
class Resizing:
    """The kernel of a resize of rows and columns.

    Pointers: x [images, IH, IW, channels], y [images, rows, columns, channels], operands of the epilogue.
    """

    images: int
    ih: int
    iw: int
    channels: int
    rows: tuple[Tap, ...]
    columns: tuple[Tap, ...]
    linear: bool
    scratch: int = 0
    cycles: float = 0.0
    weight_bytes: int = 0

    @property
    def items(self) -> int:
        """Independent shares of the work: rows of the output."""
        return self.images * len(self.rows)

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        sizes = {"IH": self.ih, "IW": self.iw, "OH": len(self.rows), "OW": len(self.columns), "OC": self.channels}
        tables = {"ROWS": _initializer(self.rows), "COLUMNS": _initializer(self.columns)}
        return instance("resize.h", name, finish, {**sizes, **tables, "LINEAR": int(self.linear)})


def _initializer(axis: tuple[Tap, ...]) -> str:
    return ", ".join(f"{{{tap.low}, {tap.high}, {tap.share!r}f}}" for tap in axis)
