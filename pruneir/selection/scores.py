"""How much each channel of each group matters, in one vector per group.

A group runs through several tensors. Every tensor gives one number a channel; they are combined over the group's
members by `aggregate` after each is normalised, so that groups of different width and fan-in compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from pruneir.coupling import Coupling, Group, Member

Scores = Mapping[Group, np.ndarray]
"""`[channels]` per group; the lowest go first."""

Criterion = Literal["l1", "l2", "gm", "random"]
Aggregate = Literal["mean", "max", "min", "sum", "first"]
Normalize = Literal["mean", "max", "l2", "none"]

_AGGREGATES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda rows: rows.mean(axis=0),
    "max": lambda rows: rows.max(axis=0),
    "min": lambda rows: rows.min(axis=0),
    "sum": lambda rows: rows.sum(axis=0),
    "first": lambda rows: rows[0],
}
_NORMS: Mapping[str, Callable[[np.ndarray], float]] = {
    "mean": lambda row: float(row.mean()),
    "max": lambda row: float(row.max()),
    "l2": lambda row: float(np.sqrt((row**2).mean())),
    "none": lambda row: 1.0,
}


def batchnorm_scale(
    coupling: Coupling, groups: Sequence[Group], aggregate: Aggregate = "mean"
) -> dict[Group, np.ndarray]:
    """|γ| of the BatchNorms that a group runs through (Liu et al., ICCV 2017); groups without one are left out.

    Several BatchNorms of one group, as on a residual stream, are combined by `aggregate`. The scales of other norms
    count alike; the steps of quantized tensors do not.
    """
    scored = {}
    for group in groups:
        rows = [_summed(group, m, np.abs(_array(coupling, m))) for m in group.members if m.role == "scale"]
        if rows:
            scored[group] = _AGGREGATES[aggregate](np.stack(rows))
    return scored


def weight_scores(
    coupling: Coupling,
    groups: Sequence[Group],
    criterion: Criterion = "l2",
    *,
    aggregate: Aggregate = "mean",
    normalize: Normalize = "mean",
    seed: int = 0,
) -> dict[Group, np.ndarray]:
    """Scores from the weights that produce a group's channels (from those that read them, where none does).

    l1      Σ|w| over each filter (Li et al., ICLR 2017)
    l2      √Σw² over each filter
    gm      distance to the geometric median: Σ over the other filters of ‖w_i − w_j‖ (He et al., CVPR 2019)
    random  uniform, as a control
    """
    random = np.random.default_rng(seed)
    norms = _Norms(coupling)
    scored = {}
    for group in groups:
        members = _weights(group)
        if criterion == "random" or not members:
            scored[group] = random.random(len(group))
            continue
        rows = []
        for member in members:
            rows.append(
                norms.median_distance(group, member) if criterion == "gm" else norms.norm(group, member, criterion)
            )
        scored[group] = combined(rows, aggregate, normalize)
    return scored


def combined(rows: Sequence[np.ndarray], aggregate: Aggregate = "mean", normalize: Normalize = "mean") -> np.ndarray:
    """One score per channel from those of several tensors or operators, `[channels]` each and none negative."""
    scales = [_NORMS[normalize](row) for row in rows]
    return _AGGREGATES[aggregate](
        np.stack([row / scale if scale > 0 else row for row, scale in zip(rows, scales, strict=True)])
    )


class _Norms:
    """Sums over filters, each tensor read once."""

    def __init__(self, coupling: Coupling):
        self.coupling = coupling
        self.sums: dict[tuple[str, int, str], np.ndarray] = {}

    def norm(self, group: Group, member: Member, criterion: str) -> np.ndarray:
        key = (member.use.name, member.axis, criterion)
        if key not in self.sums:
            array = _array(self.coupling, member)
            rest = tuple(a for a in range(array.ndim) if a != member.axis)
            if criterion == "l1":
                self.sums[key] = np.abs(array).sum(axis=rest, dtype=np.float64)
            else:
                self.sums[key] = _squares(array, member.axis)
        summed = _summed(group, member, self.sums[key])
        return np.sqrt(summed) if criterion == "l2" else summed

    def median_distance(self, group: Group, member: Member) -> np.ndarray:
        rows = np.moveaxis(_array(self.coupling, member), member.axis, 0)
        rows = rows.reshape(len(rows), -1).astype(np.float32)
        squares = (rows**2).sum(axis=1, dtype=np.float64)
        gram = rows @ rows.T
        distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * gram, 0)).sum(axis=1)
        return _summed(group, member, distances)


def _weights(group: Group) -> list[Member]:
    """The weights whose filters make these channels; a depthwise filter is one of them."""
    matrices = [m for m in group.members if len(m.use.labels) > 1]
    return [m for m in matrices if m.role == "out"] or matrices or group.members


def _array(coupling: Coupling, member: Member) -> np.ndarray:
    array = coupling.graph.constant(member.use.name)
    assert array is not None
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _squares(array: np.ndarray, axis: int) -> np.ndarray:
    """Σw² for each position of one axis, without a copy of the tensor where its layout allows."""
    if axis == 0:
        flat = array.reshape(len(array), -1)
        return np.asarray(np.einsum("ij,ij->i", flat, flat), np.float64)
    rest = tuple(a for a in range(array.ndim) if a != axis)
    return np.asarray(np.square(array).sum(axis=rest, dtype=np.float64))


def _summed(group: Group, member: Member, positions: np.ndarray) -> np.ndarray:
    """Per-position numbers of one axis, added up per channel of the group."""
    inside = member.channel >= 0
    return np.bincount(member.channel[inside], weights=positions[inside], minlength=len(group))
