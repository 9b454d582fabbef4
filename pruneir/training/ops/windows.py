"""Kernels that slide over the spatial axes: strides, dilations and padding, for convolutions and pools alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel slides: a number per spatial axis, padding before and behind."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]

    @property
    def is_even(self) -> bool:
        """Whether there is as much padding behind as before."""
        return self.before == self.behind

    @property
    def extents(self) -> tuple[int, ...]:
        """Positions that a dilated kernel spans."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True))


def window(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of a call over an image of these sizes; `auto_pad` is resolved."""
    rank = len(sizes)
    ones = (1,) * rank
    strides, dilations = tuple(call.attribute("strides", ones)), tuple(call.attribute("dilations", ones))
    pads = tuple(call.attribute("pads", (0,) * 2 * rank))
    kind = call.attribute("auto_pad", "NOTSET")
    plain = Window(tuple(kernel), strides, dilations, pads[:rank], pads[rank:])
    if kind in ("NOTSET", ""):
        return plain
    if kind == "VALID":
        return Window(tuple(kernel), strides, dilations, (0,) * rank, (0,) * rank)
    total = [
        max(0, (-(-size // stride) - 1) * stride + extent - size)
        for size, stride, extent in zip(sizes, strides, plain.extents, strict=True)
    ]
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    before, behind = (more, less) if kind == "SAME_LOWER" else (less, more)
    return Window(tuple(kernel), strides, dilations, before, behind)


def padded(x: Tensor, before: Sequence[int], behind: Sequence[int], value: float = 0.0) -> Tensor:
    """The last axes padded with a value."""
    if not any(before) and not any(behind):
        return x
    pairs = [size for pair in zip(reversed(before), reversed(behind), strict=True) for size in pair]
    return F.pad(x, pairs, value=value)
