"""What a linear operator multiplies its weights with: its input as rows of features, a row for each output position.

    y[g, row] = matrix[g] · patches[g, row] (+ bias)

For a Conv the row is the patch under the kernel, zeros where that hangs over the border; Gemm and MatMul have their
rows as they are. A few positions of each sample are enough for statistics, since neighbours are alike; only those are
gathered.
"""

from __future__ import annotations

from math import prod

import numpy as np

from pruneir.calibrate.windows import windows
from pruneir.graph import Graph, Operator


def is_linear(operator: Operator, graph: Graph) -> bool:
    """Whether `patches` knows the operator: it has a constant kernel, or a constant matrix on its second input."""
    weights = graph.constant(operator.inputs[1]) if len(operator.inputs) > 1 else None
    if weights is None:
        return False
    return operator.is_a("Conv", "ConvTranspose") or (operator.is_a("Gemm", "MatMul") and weights.ndim == 2)


def patches(
    operator: Operator, graph: Graph, x: np.ndarray, positions: int | None, rng: np.random.Generator
) -> np.ndarray:
    """The rows that an operator multiplies its weights with, `[groups, rows, features]`, float32 or float64.

    x          its first input: `[N, C, …]` of a convolution, `[M, K]` of a Gemm, `[…, K]` of a MatMul
    positions  output positions of each sample to take, drawn by `rng` without repetition; None: all

    Rows are in the order of samples, then of positions; features in the order of W: channel of the group, then tap.
    The same state of `rng` takes the same positions from any other input or output of these sizes. ValueError where
    `is_linear` says no.
    """
    if not is_linear(operator, graph):
        raise ValueError(f"{operator} has no constant matrix that sums over its first input")
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    weights = graph.constant(operator.inputs[1])
    assert weights is not None
    if not operator.is_a("Conv", "ConvTranspose"):
        rows = x.T if operator.is_a("Gemm") and operator.attribute("transA", 0) else x
        return chosen(rows, tuple(range(1, rows.ndim - 1)), positions, rng).reshape(1, -1, rows.shape[-1])
    view = windows(operator, weights.shape[2:], x)
    rank = weights.ndim - 2
    rows = chosen(view, tuple(range(2, 2 + rank)), positions, rng)
    groups = operator.attribute("group", 1)
    features = view.shape[1] // groups * prod(weights.shape[2:])
    return rows.reshape(-1, groups, features).transpose(1, 0, 2)


def chosen(x: np.ndarray, axes: tuple[int, ...], positions: int | None, rng: np.random.Generator) -> np.ndarray:
    """Samples × some positions along `axes` × the other axes, `[N, positions, …]`; None takes all positions.

    The draw depends on the sizes of axis 0 and of `axes` alone, so that an operator's output gives up the values that
    belong to the rows of `patches`.
    """
    sizes = tuple(x.shape[axis] for axis in axes)
    rest = tuple(axis for axis in range(1, x.ndim) if axis not in axes)
    if positions is None or positions >= prod(sizes):
        moved = x.transpose(0, *axes, *rest)
        return moved.reshape(len(x), prod(sizes), *moved.shape[1 + len(axes) :])
    at = iter(np.unravel_index(_draw(len(x), prod(sizes), positions, rng), sizes))
    index = [next(at) if axis in axes else slice(None) for axis in range(1, x.ndim)]
    return np.asarray(x[(np.arange(len(x))[:, None], *index)])


def matrix(operator: Operator, weights: np.ndarray) -> np.ndarray:
    """An operator's weights as `[groups, outputs of a group, features]`, in double precision."""
    wide = weights.astype(np.float64)
    groups = operator.attribute("group", 1)
    if operator.is_a("Conv"):
        return wide.reshape(groups, len(wide) // groups, -1)
    if operator.is_a("ConvTranspose"):
        outputs = wide.shape[1]
        split = wide.reshape(groups, len(wide) // groups, outputs, -1)
        return split.transpose(0, 2, 1, 3).reshape(groups, outputs, -1)
    if operator.is_a("Gemm"):
        straight = wide if operator.attribute("transB", 0) else wide.T
        return straight[None] * float(operator.attribute("alpha", 1.0))
    return wide.T[None]


def _draw(count: int, total: int, positions: int, rng: np.random.Generator) -> np.ndarray:
    """For each of `count` samples `positions` of `total`, without repetition and ascending, `[count, positions]`."""
    if positions * 8 > total:
        picked = rng.random((count, total)).argpartition(positions - 1, axis=1)[:, :positions]
    else:
        picked = np.stack([rng.choice(total, positions, replace=False, shuffle=False) for _ in range(count)])
    return np.sort(picked, axis=1)
