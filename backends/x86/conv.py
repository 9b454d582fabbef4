"""The C of a convolution: the template runtime/conv.h with the sizes of one layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pruneir.backends.x86.template import instance
from pruneir.backends.x86.tiling import Geometry, Grid, Part, Tiling


@dataclass(frozen=True)
class Tiled:
    """A kernel that is this template, whatever its weights are stored as."""

    geometry: Geometry
    tiling: Tiling
    scratch: ClassVar[int] = 0

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return self.tiling.items


def conv_source(
    name: str, geometry: Geometry, tiling: Tiling, finish: str, stored: Mapping[str, object] | None = None
) -> str:
    """A kernel `name`.

    tiling  of this geometry
    finish  C of `<name>_finish`, through which every vector of sums passes; empty: stored as it is
    stored  what runtime/conv_sparse.h needs, where zeros are not stored
    """
    flat = geometry.flat()
    cut = {
        "GROUPS": tiling.groups,
        "PLACE(n, h, w)": place(flat),
        "NV": tiling.vectors,
        "PARTS": ", ".join(_initializer(part) for part in tiling.parts),
        "SIZES": hex(_points(tiling.parts)),
        "TILES": tiling.tiles,
        "IMAGES": tiling.images,
        "GROUP": tiling.group,
        "BLOCK": tiling.block,
        "STEP": tiling.step,
        "WIDE": int(tiling.wide),
    }
    return instance("conv.h", name, finish, {**flat.macros(), **cut, **(stored or {})})


def place(geometry: Geometry) -> str:
    """Where a point lies in the output, as a C expression in n, h and w."""
    grid = geometry.grid or Grid(geometry.oh, geometry.ow, 0, 0, 1, 1)
    row, column = f"(h) * {grid.down} + {grid.row}", f"(w) * {grid.right} + {grid.column}"
    return f"((((long)(n) * {grid.height} + {row}) * {grid.width}) + {column})"


def _initializer(part: Part) -> str:
    size, larger, _ = part.sizes
    return f"{{{part.row}, {part.column}, {part.down:d}, {part.lines}, {part.tiles}, {size}, {larger}}}"


def _points(parts: tuple[Part, ...]) -> int:
    """A bit for each number of points that a tile has."""
    bits = 0
    for part in parts:
        size, larger, smaller = part.sizes
        bits |= (larger > 0) << size + 1 | (smaller > 0) << size
    return bits
