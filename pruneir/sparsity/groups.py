"""SIMD groups: weights that one vector instruction, or one step of an unrolled loop, reads together.

A group is `width` consecutive weights along one axis, aligned to that axis's beginning: in the order `outputs`, filters
or neurons that read the same input position (channel and tap); in the order `inputs`, positions that the same filter or
neuron reads, kernels flattened. The last group of a row may be shorter. Filters of different blocks of a grouped
convolution read different inputs, so that groups end where blocks do. A sparse format needs one index a group
(Yu et al., Scalpel, ISCA 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pruneir.sparsity.weights import Weight
from pruneir.targets import Order

Importance = Literal["std", "lamp", "rms"]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How one weight falls into groups.

    width   weights in a group that is not cut short
    """

    weight: Weight
    width: int
    order: Order = "outputs"

    @property
    def sizes(self) -> np.ndarray:
        """Weights in each group of a row, `[groups]`."""
        length = self._rows(self.weight.array).shape[-1]
        return np.diff(np.append(np.arange(0, length, self.width), length))

    @property
    def rms(self) -> np.ndarray:
        """√(mean of w²) of every group, float64 `[…, groups]`: its importance in the paper."""
        return np.asarray(np.sqrt(self._sums(self.weight.array.astype(np.float64) ** 2) / self.sizes))

    @property
    def nonzero(self) -> np.ndarray:
        """How many weights of every group are not zero, `[…, groups]`."""
        return self._sums((self.weight.array != 0).astype(np.int64))

    def mask(self, kept: np.ndarray) -> np.ndarray:
        """True where a weight's group is kept, of the weight's shape; `kept` is one truth value a group."""
        mask = np.empty(self.weight.array.shape, bool)
        self._rows(mask)[...] = np.repeat(kept, self.sizes, axis=-1)
        return mask

    def _sums(self, array: np.ndarray) -> np.ndarray:
        rows = self._rows(array)
        return np.asarray(np.add.reduceat(rows, np.arange(0, rows.shape[-1], self.width), axis=-1))

    def _rows(self, array: np.ndarray) -> np.ndarray:
        """A view of the array with the axis along which groups lie as its last."""
        weight, inputs = self.weight, self.weight.input_axis
        if not weight.is_kernel:
            return np.moveaxis(array, inputs if self.order == "inputs" else weight.output_axis, -1)
        if self.order == "inputs":
            return array.reshape(len(array), -1) if inputs == 1 else np.moveaxis(array, inputs, -1)
        blocks = _blocks(weight)
        split = array.reshape(blocks, len(array) // blocks, *array.shape[1:])
        return np.moveaxis(split, weight.output_axis + 1, -1)


def unfit(weight: Weight, width: int, order: Order) -> str:
    """Why a weight has no groups of that width; empty if it has."""
    one, *others = [Weight(weight.name, weight.array, (use,)) for use in weight.uses]
    if any((each.output_axis, _blocks(each)) != (one.output_axis, _blocks(one)) for each in others):
        return "operators that share it sum over different axes"
    outputs = weight.array.shape[weight.output_axis]
    if width > 1 and order == "outputs" and _blocks(weight) > 1 and outputs in (1, _blocks(weight)):
        return "depthwise: no two filters read the same input"
    return ""


def scores(layout: Layout, importance: Importance) -> np.ndarray:
    """What makes groups of different layers compare, `[…, groups]`; the lowest go first.

    rms   √(mean of w²), as it is
    std   the same over the deviation of the layer's weights that are not zero
    lamp  mean w² of the group over Σw² of the layer's groups for which it is no smaller (Lee et al., Layer-adaptive
          Sparsity for the Magnitude-based Pruning, ICLR 2021, here of groups): what a weight of it is worth, as a share
          of what the layer would still have
    """
    rms = layout.rms
    if importance == "rms":
        return rms
    if importance == "std":
        array = layout.weight.array
        alive = array[array != 0].astype(np.float64)
        deviation = float(alive.std()) if alive.size > 1 else 0.0
        return np.asarray(rms / deviation) if deviation > 0 else rms
    squares = (rms**2).reshape(-1)
    order = np.argsort(squares, kind="stable")
    left = np.cumsum((rms**2 * layout.sizes).reshape(-1)[order][::-1])[::-1]
    found = np.zeros_like(squares)
    found[order] = np.divide(squares[order], left, out=np.zeros_like(left), where=left > 0)
    return np.asarray(found.reshape(rms.shape))


def lowest(layouts: Sequence[Layout], importance: Importance, goal: float) -> list[np.ndarray]:
    """Which groups are kept, `[…, groups]` of each layout: one threshold for all, the lowest that suffices.

    goal  how many weights may be left that are not zero

    The best group of each layer stays.
    """
    if not layouts:
        return []
    scored = [scores(layout, importance) for layout in layouts]
    for each in scored:
        each.reshape(-1)[each.argmax()] = np.inf
    flat = np.concatenate([each.reshape(-1) for each in scored])
    counts = np.concatenate([layout.nonzero.reshape(-1) for layout in layouts])
    order = np.argsort(flat, kind="stable")
    order = order[np.isfinite(flat[order])]
    gone = np.append(0, np.cumsum(counts[order]))
    keep = np.ones(len(flat), bool)
    keep[order[: np.searchsorted(gone, counts.sum() - goal - 1e-9)]] = False
    ends = np.cumsum([each.size for each in scored])[:-1]
    return [part.reshape(each.shape) for part, each in zip(np.split(keep, ends), scored, strict=True)]


def _blocks(weight: Weight) -> int:
    """Groups of a grouped convolution; 1 for anything else."""
    return int(weight.uses[0][0].attribute("group", 1)) if weight.is_kernel else 1
