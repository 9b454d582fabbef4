"""Anchors: the boxes that a detector's offsets are from. Made as SSD does, found in a graph, or read from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from pruneir.data import archive
from pruneir.detection.boxes import VARIANCES, cornered
from pruneir.errors import PruneirError
from pruneir.graph import Graph

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Anchors in the order of a head's rows.

    boxes      float32 `[A, 4]`, corners, in the unit that the labels have
    variances  float32 `[4]`, or `[A, 4]`, one row an anchor
    """

    boxes: Array
    variances: Array

    def __len__(self) -> int:
        return len(self.boxes)

    def __str__(self) -> str:
        """A fingerprint of their numbers."""
        return sha256(self.boxes.tobytes() + self.variances.tobytes()).hexdigest()[:16]


def default_boxes(
    sizes: Sequence[tuple[int, int]], scales: Sequence[float], ratios: Sequence[Sequence[float]]
) -> Array:
    """SSD's default boxes (Liu et al., ECCV 2016), float32 `[A, 4]` with corners, in shares of the image.

    A cell has a square of the map's scale s, one of √(s·s′), s′ the next map's scale, and for each further ratio r a
    box s·√r wide and s/√r high, around its middle. Rows go by map, row, column, box: as a head's channels do when they
    are transposed to the end and the maps are put one behind the other.

    sizes   rows and columns of each map
    scales  one for each map and one more, in shares of the image
    ratios  width over height of the boxes of each map that are no squares
    """
    if not len(sizes) == len(ratios) == len(scales) - 1:
        raise PruneirError(
            f"{len(sizes)} maps, {len(ratios)} lists of ratios and {len(scales)} scales do not go together; give a "
            "list of ratios for each map, and one scale more"
        )
    found = []
    for (rows, columns), scale, following, wanted in zip(sizes, scales, scales[1:], ratios, strict=False):
        square = [(scale, scale), ((scale * following) ** 0.5,) * 2]
        shapes = np.array([*square, *((scale * ratio**0.5, scale / ratio**0.5) for ratio in wanted)])
        y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
        centres = np.stack([x, y], axis=-1)[:, :, None]
        boxes = np.broadcast_arrays(centres, shapes)
        found.append(np.concatenate(boxes, axis=-1).reshape(-1, 4))
    return cornered(np.concatenate(found)).astype(np.float32)


def anchors_from(array: Array, name: str) -> Anchors:
    """Anchors of an array: `[A, 4]`; or `[2, A, 4]`, variances behind, also flat as `[2, 4·A]`; 1s may go before.

    They have corners where all then are boxes, else centres and sizes. PruneirError if they are neither.
    """
    shaped = _shaped(array)
    if shaped is None:
        raise PruneirError(
            f"{name}: {array.dtype} {list(array.shape)} is no list of anchors; give floats [A, 4], or [2, A, 4] with "
            "variances"
        )
    boxes = shaped[0]
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        boxes = cornered(boxes)
    variances = shaped[1] if len(shaped) == 2 else np.array(VARIANCES)
    if not ((boxes[:, 2:] > boxes[:, :2]).all() and (variances > 0).all() and np.isfinite(shaped).all()):
        raise PruneirError(f"{name}: some anchors have no area; give corners x0, y0, x1, y1, or cx, cy, width, height")
    return Anchors(boxes.astype(np.float32), variances.astype(np.float32))


class Unanchored(PruneirError):
    """A graph holds no anchors, or several lists that could be them."""


def load_anchors(path: str | os.PathLike[str]) -> Anchors:
    """The anchors in an .npy file."""
    found = archive.read(path)
    if not isinstance(found, np.ndarray):
        raise PruneirError(f"{path}: anchors are one array; write them with numpy.save")
    return anchors_from(found, str(path))


def given_anchors(path: str | os.PathLike[str] | None) -> Anchors | None:
    """The anchors in an .npy file that an option names; None without one."""
    return load_anchors(path) if path is not None else None


def anchors_of(graph: Graph, count: int) -> Anchors:
    """The anchors that a graph holds: its one constant that is a list of `count` of them.

    Unanchored if there is none, or if there are several.
    """
    found: dict[str, Anchors] = {}
    for name in graph.values:
        array = graph.constant(name)
        shaped = _shaped(array) if array is not None else None
        if array is None or shaped is None or shaped.shape[1] != count:
            continue
        try:
            anchors = anchors_from(array, name)
        except PruneirError:
            continue
        if not any(np.array_equal(anchors.boxes, other.boxes) for other in found.values()):
            found[name] = anchors
    if len(found) == 1:
        return next(iter(found.values()))
    what = f"could be any of the constants {', '.join(found)}" if found else "are no constant [A, 4] of the network"
    raise Unanchored(f"the {count:,} anchors {what}; give them as anchors=FILE.npy")


def _shaped(array: Array) -> Array | None:
    """The array as `[1, A, 4]` or `[2, A, 4]`; None if it cannot be that."""
    if array.dtype.kind != "f" or array.ndim < 2:
        return None
    rest = array.shape
    while len(rest) > 2 and rest[0] == 1:
        rest = rest[1:]
    if len(rest) == 2 and rest[0] == 2 and rest[1] % 4 == 0 and rest[1] > 4:
        return np.asarray(array, np.float64).reshape(2, -1, 4)
    if rest[-1] != 4 or len(rest) > 3 or (len(rest) == 3 and rest[0] != 2):
        return None
    return np.asarray(array, np.float64).reshape(-1, *rest[-2:])
