"""Whether a layer's zeros are left out: the kernel of the format that is estimated to be fastest, or none."""

from __future__ import annotations

import numpy as np

from pruneir.backends.x86.sparse_groups import Groups, groups
from pruneir.backends.x86.sparse_rows import Rows, rows
from pruneir.backends.x86.tiling import Geometry
from pruneir.backends.x86.work import MEMORY, Computing

_MOST = 0.75
"""Share of the weights that are not zero, above which nothing is gained."""
_GAIN = 0.9
"""Share of a dense kernel's time below which a sparse one is taken: estimates err."""


def sparse(geometry: Geometry, weights: np.ndarray, lanes: int, dense: Computing) -> Groups | Rows | None:
    """The kernel that leaves zeros out, if it is faster than the dense one.

    weights  float32 [groups · OC, IC, KH, KW]
    """
    if np.count_nonzero(weights) > _MOST * weights.size:
        return None
    found = [each for each in (groups(geometry, weights, lanes), rows(geometry, weights, lanes)) if each is not None]
    best = min(found, key=cycles)
    return best if cycles(best) < _GAIN * cycles(dense) else None


def cycles(kernel: Computing) -> float:
    """Estimated, with weights that have left the caches since the last run."""
    return kernel.cycles + kernel.weight_bytes / MEMORY
