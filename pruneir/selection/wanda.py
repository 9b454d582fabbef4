"""Activation-aware scores: the weights that read a channel, times how loud the channel is.

Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (ICLR 2024) score a weight by
|W_oc| · ‖x_c‖₂, section 3, and compare it with the other weights of the same output only. A channel is worth what it is
worth to all the outputs and taps that read it, each in units of that output's own deviation σ_o:

    score(c) = ‖x_c‖₂ · mean_o Σ_tap |W[o, c, tap]| / σ_o

where ‖x_c‖₂ is the root mean square over samples and places of the reader's own input. A channel that is cut and held
at its mean, as absorption does, loses the deviation from that mean only, which then stands for ‖x_c‖₂.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pruneir.calibrate import Statistics
from pruneir.coupling import Coupling, Group
from pruneir.data import Data
from pruneir.progress import Progress, silent
from pruneir.selection.readers import Reader, around, readers

_STILL = 1e-6
"""Part of the largest deviation below which an output counts as constant."""


def wanda(
    coupling: Coupling,
    groups: Sequence[Group],
    data: Data,
    *,
    limit: int | None = None,
    centred: bool = False,
    progress: Progress = silent,
) -> dict[Group, list[np.ndarray]]:
    """Scores `[channels]` by every reader of each group, over the first `limit` samples.

    centred  measure the deviation from the mean, not the distance from zero
    """
    read = {group: readers(coupling, group) for group in groups}
    seen, made = around(coupling, [reader for some in read.values() for reader in some], data, limit, progress)
    rows: dict[Group, list[np.ndarray]] = {group: [] for group in groups}
    for group, some in read.items():
        for reader in some:
            loud = np.sqrt(seen[reader].variance if centred else seen[reader].square).reshape(reader.channel.shape)
            matter = np.abs(reader.weights).sum(axis=3) / deviations(made[reader], reader)[:, :, None]
            rows[group].append(reader.per_channel(matter.mean(axis=1) * loud, len(group)))
    return rows


def deviations(made: Statistics, reader: Reader) -> np.ndarray:
    """σ of each of a reader's outputs, `[groups, outputs]`; infinite for those that never change."""
    sigma = np.sqrt(made.variance).reshape(len(reader.channel), -1)
    return np.where(sigma > _STILL * sigma.max(initial=0), sigma, np.inf)
