"""A linear layer, input by input: what each is multiplied with, and where the products are summed.

Weights are a tensor [columns, slots, filters]. What an input is multiplied with, its column, depends on its channel,
and with strides on its place modulo these; a slot is what reaches an output that lies so far from the input. Sums lie
with filters innermost, in an image so large that every slot of every input is in it, so that all of a column is added
at fixed distances from where an input's sums begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from pruneir.backends.cortex_m.assembly.scatter import Loop


@dataclass(frozen=True)
class Axis:
    """An axis of the inputs: one of points, along which sums lie, or of channels, which are summed over.

    length  of the inputs
    taps    how many weights there are along it, `apart` inputs apart, and their stride in the weights
    before  zeros that the layer sees in front of the inputs
    points  how many outputs there are along it, `step` inputs apart; 0 of channels

    Which weights an input has is said by its phase: of channels that is its place, of points its place modulo `step`,
    while the quotient says where its sums begin.
    """

    length: int
    taps: int
    apart: int
    stride: int
    before: int
    points: int
    step: int = 1

    @property
    def phases(self) -> int:
        """How many there are."""
        return self.step if self.points else self.length

    @cached_property
    def offsets(self) -> np.ndarray:
        """int64 `[slots]`, rising: how far from the quotient the outputs are that inputs have a part in."""
        if not self.points:
            return np.zeros(1, np.int64)
        ahead = np.arange(self.phases)[:, None] + self.before - np.arange(self.taps) * self.apart
        return np.unique(ahead[ahead % self.step == 0] // self.step)

    @cached_property
    def places(self) -> np.ndarray:
        """int64 `[phases, slots]`: the weight between an input and an output; -1 where there is none."""
        away = np.arange(self.phases)[:, None] + self.before - self.offsets * self.step
        tap, rest = np.divmod(away, self.apart)
        return np.where((rest == 0) & (tap >= 0) & (tap < self.taps), tap * self.stride, -1)

    @property
    def sums(self) -> int:
        """How many sums there are along it, with those that lie outside the output."""
        return self.length // self.step + int(np.ptp(self.offsets)) if self.points else 1

    @property
    def shift(self) -> int:
        """How many of them lie in front of the output."""
        return -int(self.offsets[0])

    @property
    def inside(self) -> bool:
        """Whether the whole output lies among the sums, and each quotient has all phases."""
        return not self.points or (self.length % self.step == 0 and 0 <= self.shift <= self.sums - self.points)


@dataclass(frozen=True)
class Layer:
    """A linear layer, input by input.

    axes     of the inputs, in their order
    filters  how many there are, and their stride in the weights
    """

    axes: tuple[Axis, ...]
    filters: tuple[int, int]

    @property
    def inputs(self) -> int:
        """How many there are."""
        return prod(axis.length for axis in self.axes)

    @property
    def outputs(self) -> int:
        """How many there are."""
        return self.filters[0] * prod(axis.points for axis in self.axes if axis.points)

    def strides(self, width: int) -> tuple[int, ...]:
        """How far apart sums are along each axis, 0 along channels; filters are filled up to whole groups."""
        found: list[int] = []
        apart = -(-self.filters[0] // width) * width
        for axis in reversed(self.axes):
            found.insert(0, apart if axis.points else 0)
            apart *= axis.sums
        return tuple(found)

    def room(self, width: int) -> int:
        """How many sums there are."""
        return -(-self.filters[0] // width) * width * prod(axis.sums for axis in self.axes)

    def shift(self, width: int) -> int:
        """How many sums lie in front of the output's first."""
        return sum(axis.shift * apart for axis, apart in zip(self.axes, self.strides(width), strict=True))

    def loops(self, width: int) -> tuple[Loop, ...]:
        """Over the inputs."""
        found: list[Loop] = []
        columns = 1
        for axis, apart in zip(reversed(self.axes), reversed(self.strides(width)), strict=True):
            found.insert(0, Loop(axis.phases, 0, columns))
            columns *= axis.phases
            if axis.points:
                found.insert(0, Loop(axis.length // axis.step, apart, 0))
        return tuple(found)

    @cached_property
    def places(self) -> np.ndarray:
        """int64 `[columns, slots]`: of the first filter's weights; -1 where there is none."""
        found, there = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
        for axis in self.axes:
            shape = len(found) * axis.phases, found.shape[1] * axis.offsets.size
            at = axis.places[None, :, None, :]
            found = (found[:, None, :, None] + at).reshape(shape)
            there = (there[:, None, :, None] & (at >= 0)).reshape(shape)
        return np.where(there, found, -1)

    def weights(self, array: np.ndarray) -> np.ndarray:
        """`[columns, slots, filters]`, zeros where there are none."""
        count, stride = self.filters
        places = self.places[:, :, None]
        found: np.ndarray = array.ravel()[np.maximum(places, 0) + np.arange(count) * stride]
        return np.where(places >= 0, found, found.dtype.type(0))

    def distances(self, width: int) -> np.ndarray:
        """int64 `[groups]`: from where the sums of an input begin to those of each group, in bytes."""
        found = np.zeros(1, np.int64)
        for axis, apart in zip(self.axes, self.strides(width), strict=True):
            found = (found[:, None] + (axis.offsets - axis.offsets[0]) * apart).ravel()
        beside = np.arange(-(-self.filters[0] // width)) * width
        return 4 * (found[:, None] + beside).ravel()
