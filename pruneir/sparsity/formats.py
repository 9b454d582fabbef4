"""Weights without their zeros, as kernels read them: panels of consecutive outputs, an index a stored group.

A layer's weights are a matrix `[outputs, positions]`: neurons × inputs, or filters × (channels and taps). A *panel* is
`width` consecutive outputs, a *group* what a panel has at `block` consecutive positions; a group is stored where one of
its weights is not zero, panel after panel, by position. A kernel keeps the outputs of one panel in registers and reads
one index, `block` inputs and block · width weights for each group.

| width | block | known as |
|---|---|---|
| 1 | 1 | compressed sparse rows (CSR) |
| W | 1 | CSR of SIMD groups: Yu et al., Scalpel, ISCA 2017, section 3.1; `groups.Layout` in the order `outputs` |
| R | B | block CSR (BSR) |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pruneir.sparsity.weights import Weight

Index = Literal["places", "steps"]
Positions = Literal["channels", "taps"]

_NARROW = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True, slots=True, eq=False)
class Panels:
    """A matrix without its zeros.

    shape    outputs, positions
    width    outputs of a panel; where they do not divide, the last panel ends in outputs of zeros
    block    positions of a group; where they do not divide, the last group ends in positions of zeros
    index    whether `indices` are places, or steps from the group before; each panel starts from 0 again
    offsets  int64 `[positions]`: the place of each position, in elements from where a kernel starts to read
    starts   unsigned `[panels + 1]`: the first group of each panel, and how many there are
    indices  unsigned `[groups]`: the place of a group's first position, or the step to it
    values   `[groups, block, width]`, of the matrix's type
    """

    shape: tuple[int, int]
    width: int
    block: int
    index: Index
    offsets: np.ndarray
    starts: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    @property
    def panels(self) -> int:
        """How many panels there are."""
        return len(self.starts) - 1

    @property
    def groups(self) -> int:
        """How many groups are stored, with those of zeros that steps need."""
        return len(self.indices)

    @property
    def places(self) -> np.ndarray:
        """The place of every group, int64 `[groups]`."""
        found = self.indices.astype(np.int64)
        if self.index == "places" or not len(found):
            return found
        sums = np.append(0, np.cumsum(found))
        starts = self.starts.astype(np.int64)
        return np.asarray(sums[1:] - np.repeat(sums[starts[:-1]], np.diff(starts)))

    @property
    def nbytes(self) -> int:
        """Bytes of starts, indices and values."""
        return self.starts.nbytes + self.indices.nbytes + self.values.nbytes


def matrices(weight: Weight, positions: Positions = "channels") -> np.ndarray:
    """The weight as `[blocks, outputs, positions]`: one matrix for each block of a grouped convolution, else one.

    positions  which come first: `channels` (channel by channel, all its taps) or `taps` (tap by tap, all channels)

    Axes of a matrix product before the last two are as many blocks.
    """
    array = weight.array
    if not weight.is_kernel:
        turned = np.moveaxis(array, (weight.output_axis, weight.input_axis), (-2, -1))
        return np.ascontiguousarray(turned.reshape(-1, *turned.shape[-2:]))
    blocks = int(weight.uses[0][0].attribute("group", 1))
    split = array.reshape(blocks, len(array) // blocks, *array.shape[1:])
    split = np.moveaxis(split, (weight.output_axis + 1, weight.input_axis + 1), (1, 2))
    if positions == "taps":
        split = np.moveaxis(split, 2, -1)
    return np.ascontiguousarray(split.reshape(*split.shape[:2], -1))


def panels(
    matrix: np.ndarray,
    width: int,
    block: int = 1,
    index: Index = "places",
    offsets: np.ndarray | Sequence[int] | None = None,
) -> Panels:
    """A matrix without its zeros, indices as narrow as they can be.

    matrix   `[outputs, positions]`
    offsets  integers `[positions]`, rising: the places of positions; by default 0, 1, 2 …

    A step that is longer than its type holds is made of several, with groups of zeros in between at places that some
    position has; of the types, the one with the fewest bytes is taken.
    """
    outputs, positions = matrix.shape
    places = np.arange(positions) if offsets is None else np.asarray(offsets, np.int64)
    assert len(places) == positions
    assert (np.diff(places, prepend=-1) > 0).all()
    tiles = _tiles(matrix, width, block)
    rows, columns = np.nonzero((tiles != 0).any(axis=(2, 3)))
    values, firsts = tiles[rows, columns], places[::block]
    indices = narrow(firsts[columns])
    if index == "steps":
        rows, indices, arrives = min(_in_steps(rows, firsts[columns], firsts), key=lambda each: each.nbytes(values))[:3]
        stored = np.zeros((len(rows), block, width), matrix.dtype)
        stored[arrives] = values
        values = stored
    starts = narrow(np.searchsorted(rows, np.arange(len(tiles) + 1)))
    return Panels((outputs, positions), width, block, index, places, starts, indices, values)


def expanded(given: Panels) -> np.ndarray:
    """The matrix again. A zero's sign is lost."""
    (outputs, positions), width, block = given.shape, given.width, given.block
    tiles = np.zeros((given.panels, -(-positions // block), block, width), given.values.dtype)
    rows = np.repeat(np.arange(given.panels), np.diff(given.starts.astype(np.int64)).tolist())
    tiles[rows, np.searchsorted(given.offsets[::block], given.places)] += given.values
    whole = tiles.transpose(0, 3, 1, 2).reshape(given.panels * width, -1)
    return np.ascontiguousarray(whole[:outputs, :positions])


def narrow(values: np.ndarray) -> np.ndarray:
    """Integers that are not negative, in the narrowest unsigned type of 1, 2 or 4 bytes that holds them all."""
    largest = int(values.max(initial=0))
    return values.astype(next(kind for kind in _NARROW if largest <= np.iinfo(kind).max))


def _tiles(matrix: np.ndarray, width: int, block: int) -> np.ndarray:
    """`[panels, groups of a panel, block, width]`, filled up with zeros."""
    outputs, positions = matrix.shape
    whole = filled(matrix, (outputs + -outputs % width, positions + -positions % block))
    return whole.reshape(len(whole) // width, width, -1, block).transpose(0, 2, 3, 1)


def filled(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The array in the corner of a larger one that is zero elsewhere; np.pad takes ten times as long for small ones."""
    found = np.zeros(shape, array.dtype)
    found[tuple(map(slice, array.shape))] = array
    return found


class _Steps(NamedTuple):
    """Steps `[stored]`, the panel of each, and which of them arrive at a group, `[groups]`."""

    rows: np.ndarray
    steps: np.ndarray
    arrives: np.ndarray

    def nbytes(self, values: np.ndarray) -> int:
        """Bytes of all steps with their values."""
        return int(self.steps.nbytes + len(self.steps) * values[:1].nbytes)


def _in_steps(rows: np.ndarray, places: np.ndarray, possible: np.ndarray) -> Iterator[_Steps]:
    """The steps to the places `[groups]` of some panels, in each type of integers that can hold them."""
    before = np.append(0, places)[:-1]
    before[np.flatnonzero(np.diff(rows, prepend=-1))] = 0
    for kind in _NARROW:
        stops = [_stops(*ends, int(np.iinfo(kind).max), possible) for ends in zip(before, places, strict=True)]
        if all(each is not None for each in stops):
            counts = np.asarray([len(each) for each in stops if each is not None], np.int64)
            steps = np.asarray([step for each in stops if each is not None for step in each], np.int64)
            yield _Steps(np.repeat(rows, counts), steps.astype(kind), np.cumsum(counts) - 1)


def _stops(begin: int, end: int, longest: int, possible: np.ndarray) -> list[int] | None:
    """Steps from one place to another, each at most the longest and to a possible place; None if there are none."""
    steps = []
    while end - begin > longest:
        reached = int(np.searchsorted(possible, begin + longest, "right")) - 1
        if reached < 0 or possible[reached] <= begin:
            return None
        steps.append(int(possible[reached]) - begin)
        begin = int(possible[reached])
    return [*steps, end - begin]
