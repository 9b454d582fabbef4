"""What a micro-kernel computes: a register tile of sums of products, as strides and lengths.

    acc[f, p] = Σ_r  w[r, f] · x[p · step + Σ_i r_i · stride_i]        f < filters, p < points

Convolutions of any rank, stride and dilation, 1×1 and depthwise ones, and dense layers are all of this form: only the
strides differ. The weights are packed so that they are read in one stream, `filters` numbers for each r.
"""

from __future__ import annotations

from dataclasses import dataclass


class TooLarge(ValueError):
    """A tile needs more registers than there are."""


@dataclass(frozen=True, slots=True)
class Written:
    """A micro-kernel: its text, and the instructions that one call executes."""

    text: str
    instructions: int


@dataclass(frozen=True, slots=True)
class Nest:
    """A tile of `filters` × `points` sums.

    step        distance of the inputs of neighbouring points, in elements
    reduction   the loops that are summed over, outermost first: length, and stride of the input in elements
    """

    filters: int
    points: int
    step: int
    reduction: tuple[tuple[int, int], ...]

    @property
    def terms(self) -> int:
        """Products that one sum has."""
        count = 1
        for length, _ in self.reduction:
            count *= length
        return count

    @property
    def macs(self) -> int:
        """Multiply-adds of one call."""
        return self.filters * self.points * self.terms

    def merged(self) -> Nest:
        """The same with loops of length 1 left out, and loops that continue each other made one."""
        loops: list[tuple[int, int]] = []
        for length, stride in self.reduction:
            if length == 1:
                continue
            if loops and loops[-1][1] == length * stride:
                loops[-1] = (loops[-1][0] * length, stride)
            else:
                loops.append((length, stride))
        return Nest(self.filters, self.points, self.step, tuple(loops) or ((1, 0),))
