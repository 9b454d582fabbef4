"""Whether a layer's zeros are left out: the kernel of the format that is estimated to be fastest, or none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.backends.x86.sparse_groups import Groups, groups
from pruneir.backends.x86.sparse_rows import Rows, rows
from pruneir.backends.x86.tiling import Geometry
from pruneir.backends.x86.work import MEMORY, Kernel
from pruneir.storage import Format, Storage

_MOST = 0.75
"""Share of the weights that are not zero, above which nothing is gained."""
_GAIN = 0.9
"""Share of a dense kernel's time below which a sparse one is taken: estimates err."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of a layer with zeros.

    kernel   that leaves them out; None where the dense one is faster
    storage  what each format would take, without the layer's name
    """

    kernel: Groups | Rows | None
    storage: Storage


def sparse(geometry: Geometry, weights: np.ndarray, lanes: int, dense: Kernel) -> Compared | None:
    """The kernels that leave zeros out against the dense one; None for weights with few zeros.

    weights  float32 [groups · OC, IC, KH, KW]
    """
    nonzero = int(np.count_nonzero(weights))
    if nonzero > _MOST * weights.size:
        return None
    found = [each for each in (rows(geometry, weights, lanes), groups(geometry, weights, lanes)) if each is not None]
    best = min(found, key=cycles)
    pays = cycles(best) < _GAIN * cycles(dense)
    formats = [Format(0, 0, dense.weight_bytes, round(cycles(dense)))]
    formats += [Format(each.stored[0].width, 1, each.weight_bytes, round(cycles(each))) for each in found]
    taken = 1 + found.index(best) if pays else 0
    return Compared(best if pays else None, Storage("", weights.size, nonzero, "cycles", tuple(formats), taken))


def cycles(kernel: Kernel) -> float:
    """Estimated, with weights that have left the caches since the last run."""
    return kernel.cycles + kernel.weight_bytes / MEMORY
