"""Boxes of numbers that are copied, with strides of their own on both sides: runtime/box.h.

Slices, transposes, padding and whatever splits axes, permutes and merges them again are one mechanism: the axes of the
box, how far apart its numbers lie in x along each, and how far in y. Strides may be negative, or 0 in x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from pruneir.backends.x86.template import instance

_BAND = 8
"""Rows of an item."""

Axis = tuple[int, int, int]
"""Its length, its strides in x and in y."""


@dataclass(frozen=True, slots=True)
class Box:
    """The kernel; make it with `box`. Pointers: x, y.

    axes             from the outermost in y to the innermost, at least two
    start, to_start  where the first number lies
    """

    axes: tuple[Axis, ...]
    start: int = 0
    to_start: int = 0
    scratch: int = 0
    cycles: float = 0.0
    weight_bytes: int = 0

    @property
    def size(self) -> int:
        """Numbers that are copied."""
        return prod(count for count, _, _ in self.axes)

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        *outer, (rows, _, _), (columns, _, _) = self.axes
        return prod(count for count, _, _ in outer) * ceil(rows / _BAND) if columns else 0

    def source(self, name: str, finish: str = "") -> str:
        """Its C; see `instance`."""
        *outer, (rows, come, go), (columns, next_come, next_go) = self.axes
        tables = {
            table: ", ".join(str(axis[place]) for axis in outer) or "0"
            for place, table in enumerate(("COUNTS", "FROMS", "TOS"))
        }
        macros = {"X0": self.start, "Y0": self.to_start, "OUTER": len(outer), **tables}
        macros |= {"ROWS": rows, "FROM": come, "TO": go}
        macros |= {"COLUMNS": columns, "FROM_NEXT": next_come, "TO_NEXT": next_go, "BAND": _BAND}
        return instance("box.h", name, finish, macros)


def box(shape: Sequence[int], come: Sequence[int], go: Sequence[int], start: int = 0, to_start: int = 0) -> Box:
    """The kernel of a box, its axes in the order of y, neighbours that lie alike on both sides made one.

    shape, come, go  length of each axis, in any order, and its strides in x and in y
    """
    axes: list[Axis] = []
    for axis in sorted(zip(shape, come, go, strict=True), key=lambda axis: -abs(axis[2])):
        count, near, far = axis
        if count == 1:
            continue
        if axes and axes[-1][1] == near * count and axes[-1][2] == far * count:
            axes[-1] = (axes[-1][0] * count, near, far)
        else:
            axes.append(axis)
    axes = [(1, 0, 0)] * (2 - len(axes)) + axes
    rows = min(range(len(axes) - 1), key=lambda place: (abs(axes[place][1]) or 1 << 62, -place))
    if axes[-1][1] == 1 == axes[-1][2]:
        rows = len(axes) - 2
    return Box((*axes[:rows], *axes[rows + 1 : -1], axes[rows], axes[-1]), start, to_start)


def strides(shape: Sequence[int], *, last: bool = False) -> tuple[int, ...]:
    """How far apart in memory the entries of each axis lie; `last`: the channels, of axis 1, lie innermost."""
    order = [0, *range(2, len(shape)), 1] if last else [*range(len(shape))]
    found = [0] * len(shape)
    inner = 1
    for axis in reversed(order):
        found[axis] = inner
        inner *= shape[axis]
    return tuple(found)
