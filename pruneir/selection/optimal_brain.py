"""Optimal-brain scores: what a channel's absence costs its readers once their other weights have made up for it.

Let H be the covariance of what a reader multiplies its weights with (its patches, constants being the bias's affair),
and S the features that a channel occupies: its taps. Setting w_S = 0 and refitting the rest by least squares raises the
mean squared error of output w by

    w_S · ([H⁻¹]_SS)⁻¹ · w_Sᵀ,

and the score is the mean over outputs, each in units of its own variance w·H·wᵀ (Hassibi and Stork, NIPS 1992; for
structures Frantar and Alistarh, "Optimal Brain Compression", NeurIPS 2022; Kurtic et al., "ZipLM", NeurIPS 2023,
section 3.1). Two channels that say the same both cost nothing at first. So, as ZipLM does, the cheapest one goes, the
weights and H⁻¹ are brought up to date,

    W ← W − W_S·([H⁻¹]_SS)⁻¹·[H⁻¹]_S:,    H⁻¹ ← H⁻¹ − [H⁻¹]_:S·([H⁻¹]_SS)⁻¹·[H⁻¹]_S:,

and the others are judged anew. A channel's score is the error at which it went: of the channels before it and its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pruneir.calibrate import SecondMoments, second_moments
from pruneir.coupling import Coupling, Group
from pruneir.data import Data
from pruneir.graph import Operator
from pruneir.progress import Progress, silent
from pruneir.selection.readers import Reader, around, readers
from pruneir.selection.wanda import deviations

RIDGE = 0.01
"""Part of each feature's variance that H's diagonal is raised by, for what few samples do not tell."""
_FLOOR = 1e-8
"""Part of the mean variance that the diagonal is raised by besides, for features that never change."""
_PATIENCE = 8
"""What is gone is dropped from the matrices once it is this part of what is left."""


def optimal_brain(
    coupling: Coupling,
    groups: Sequence[Group],
    data: Data,
    *,
    limit: int | None = None,
    greedy: bool = True,
    ridge: float = RIDGE,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[Group, list[np.ndarray]]:
    """Scores `[channels]` by every reader of each group, over the first `limit` samples.

    greedy  judge the channels anew each time that one has gone; otherwise each as if it alone went
    Of a reader whose patches are too long for `second_moments` only the variances count: Σ w²·σ².
    """
    found = {group: readers(coupling, group) for group in groups}
    waiting: dict[Operator, list[tuple[Group, Reader]]] = defaultdict(list)
    for group, some in found.items():
        for reader in some:
            waiting[reader.operator].append((group, reader))
    rows: dict[Group, list[np.ndarray]] = defaultdict(list)
    gathered = second_moments(coupling.graph, waiting, data, limit=limit, seed=seed, progress=progress)
    for operator, moments in gathered:
        for group, reader in waiting.pop(operator):
            rows[group].append(costs(reader, moments, len(group), ridge=ridge, greedy=greedy))
    rest = [(group, reader) for some in waiting.values() for group, reader in some]
    seen, made = around(coupling, [reader for _, reader in rest], data, limit, progress)
    for group, reader in rest:
        harm = (reader.weights**2).sum(axis=3) / deviations(made[reader], reader)[:, :, None] ** 2
        variance = seen[reader].variance.reshape(reader.channel.shape)
        rows[group].append(reader.per_channel(harm.mean(axis=1) * variance, len(group)))
    return dict(rows)


def costs(
    reader: Reader, moments: SecondMoments, channels: int, *, ridge: float = RIDGE, greedy: bool = True
) -> np.ndarray:
    """The error that each channel's absence costs one reader, `[channels]`.

    It is the mean over outputs, and groups, of the mean squared error over the output's variance: 1 is all there is.
    """
    problem = _Problem(reader, moments, channels, ridge)
    if not greedy:
        return problem.errors()
    score, total = np.zeros(channels), 0.0
    left = problem.present.copy()
    while left.any():
        errors = np.where(left, problem.errors(), np.inf)
        worst = int(errors.argmin())
        total += float(errors[worst])
        score[worst] = total
        left[worst] = False
        if left.any():
            problem.remove(worst)
    return score


class _Problem:
    """The inverses and weights of one reader, as channels go; what is gone is dropped now and then."""

    def __init__(self, reader: Reader, moments: SecondMoments, channels: int, ridge: float):
        groups, outputs, inputs, taps = reader.weights.shape
        weights = reader.weights.reshape(groups, outputs, inputs * taps)
        self.weights = list(_in_units(weights, moments.covariance) / np.sqrt(groups * outputs))
        self.inverses = [_inverse(each, ridge) for each in moments.covariance]
        self.channel = list(np.repeat(reader.channel, taps, axis=1))
        self.gone = np.zeros(channels, bool)
        self.stale = 0
        self.blocks = _blocks(self.channel, channels)
        self.present = np.zeros(channels, bool)
        for _, which, _ in self.blocks:
            self.present[which] = True

    def errors(self) -> np.ndarray:
        """What each channel's absence costs now, `[channels]`; zero for those that are gone."""
        found = np.zeros(len(self.present))
        for group, which, features in self.blocks:
            here = ~self.gone[which]
            some = features[here]
            block = self.inverses[group][some[:, :, None], some[:, None, :]]
            w = self.weights[group].T[some]
            solved = w / block if block.shape[1] == 1 else np.linalg.solve(block, w)
            np.add.at(found, which[here], (w * solved).sum(axis=(1, 2)))
        return np.maximum(found, 0)

    def remove(self, channel: int) -> None:
        """Take a channel out and let the other weights make up for it."""
        self.gone[channel] = True
        for group, which, features in self.blocks:
            for taps in features[which == channel]:
                rows = self.inverses[group][taps]
                solved = np.linalg.solve(rows[:, taps], rows)
                self.weights[group] -= self.weights[group][:, taps] @ solved
                self.inverses[group] -= rows.T @ solved
        self.stale += 1
        if self.stale * _PATIENCE > (self.present & ~self.gone).sum():
            self._drop_gone()

    def _drop_gone(self) -> None:
        for group, row in enumerate(self.channel):
            left = np.flatnonzero((row < 0) | ~self.gone[row])
            self.channel[group] = row[left]
            self.weights[group] = self.weights[group][:, left]
            self.inverses[group] = self.inverses[group][np.ix_(left, left)]
        self.blocks = _blocks(self.channel, len(self.gone))
        self.stale = 0


def _inverse(covariance: np.ndarray, ridge: float) -> np.ndarray:
    variance = np.diagonal(covariance)
    level = float(variance.mean())
    return np.linalg.inv(covariance + np.diag(ridge * variance + (_FLOOR * level or 1.0)))


def _in_units(weights: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The weights over the deviation of their output; zero for outputs that never change."""
    variance = np.maximum(((weights @ covariance) * weights).sum(axis=2, keepdims=True), 0)
    return np.where(variance > _FLOOR * variance.max(initial=0), weights / np.sqrt(variance + (variance == 0)), 0.0)


def _blocks(channel: Sequence[np.ndarray], channels: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """The features of every channel, `[n, features each]` with their channels `[n]`, by group and by how many."""
    found = []
    for group, row in enumerate(channel):
        order = np.argsort(row, kind="stable")
        order = order[row[order] >= 0]
        counts = np.bincount(row[order], minlength=channels)
        starts = np.cumsum(counts) - counts
        for count in np.unique(counts[counts > 0]):
            which = np.flatnonzero(counts == count)
            found.append((group, which, order[starts[which][:, None] + np.arange(count)]))
    return found
