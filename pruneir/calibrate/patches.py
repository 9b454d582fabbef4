"""Some rows of what a linear operator multiplies its matrix with; a few positions of each sample are enough for
statistics, since neighbours are alike.
"""

from __future__ import annotations

from math import prod

import numpy as np

from pruneir.calibrate.linear import Matrix, Rows


def patches(matrix: Matrix, x: np.ndarray, positions: int | None, rng: np.random.Generator) -> np.ndarray:
    """Rows of an operator's input, `[groups, rows, features]`, float32 or float64, by sample, then by position.

    x          its first input: `[N, C, …]` of a convolution, `[M, K]` of a Gemm, `[…, K]` of a MatMul
    positions  output positions of each sample to take, drawn by `rng` without repetition; None: all
    """
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    return matrix.rows(x, drawn(matrix.sizes(x.shape), positions, rng))


def drawn(sizes: tuple[int, ...], positions: int | None, rng: np.random.Generator) -> Rows:
    """Positions of each sample, ascending, of an output whose axes but the channels' have these sizes."""
    count, total = sizes[0], prod(sizes[1:])
    if positions is None or positions >= total:
        return Rows(sizes, np.arange(count * total))
    if positions * 8 > total:
        picked = rng.random((count, total)).argpartition(positions - 1, axis=1)[:, :positions]
    else:
        picked = np.stack([rng.choice(total, positions, replace=False, shuffle=False) for _ in range(count)])
    return Rows(sizes, (np.arange(count)[:, None] * total + np.sort(picked, axis=1)).reshape(-1))
