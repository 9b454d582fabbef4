"""What sparse kernels read: where rows or panels start, indices and values, in one block of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.sparsity.formats import Panels

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Weights without their zeros.

    starts   int32: the first entry of each range, and how many there are
    indices  unsigned, of every entry
    values   float32 `[entries, …]`
    """

    starts: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of all three."""
        return self.starts.nbytes + self.indices.nbytes + self.values.nbytes

    @property
    def macros(self) -> dict[str, object]:
        """How templates find them."""
        values = _aligned(self.starts.nbytes + self.indices.nbytes)
        return {"INDEX": f"{self.indices.dtype.name}_t", "INDICES": self.starts.nbytes, "VALUES": values}

    def block(self) -> np.ndarray:
        """All three as bytes, values at a multiple of 64."""
        head = np.concatenate([self.starts.view(np.uint8), self.indices.view(np.uint8)])
        gap = np.zeros(_aligned(len(head)) - len(head), np.uint8)
        return np.concatenate([head, gap, self.values.reshape(-1).view(np.uint8)])


def packed(stored: Sequence[Panels], firsts: np.ndarray) -> Packed:
    """Several matrices, one behind another, as many panels of each.

    firsts  places at which the ranges of a panel begin, the first 0
    """
    end = max(int(each.offsets[-1]) for each in stored) + 1
    starts, before = [], 0
    for each in stored:
        panel = np.arange(each.panels)
        counts = np.asarray(np.diff(each.starts.astype(np.int64)), np.int64)
        places = np.repeat(panel, counts) * end + each.places
        starts.append(before + np.searchsorted(places, np.add.outer(panel * end, firsts).reshape(-1)))
        before += each.groups
    kind = max((each.indices.dtype for each in stored), key=lambda dtype: dtype.itemsize)
    return Packed(
        np.append(np.concatenate(starts), before).astype(np.int32),
        np.concatenate([each.indices.astype(kind) for each in stored]),
        np.concatenate([each.values for each in stored]),
    )


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
