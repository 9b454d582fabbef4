"""Scores over data, by the name of the criterion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pruneir.coupling import Coupling, Group
from pruneir.data import Data
from pruneir.progress import Progress, silent
from pruneir.selection.gates import gates
from pruneir.selection.optimal_brain import optimal_brain
from pruneir.selection.readers import readers
from pruneir.selection.scores import Aggregate, Normalize, combined
from pruneir.selection.wanda import wanda

OverData = Literal["wanda", "optimal-brain", "taylor"]
OVER_DATA: tuple[str, ...] = get_args(OverData)


@dataclass(frozen=True, slots=True)
class DataScores:
    """A criterion that judges channels by what they do over data.

    samples   how many samples to look at, at most
    centred   channels that go leave their mean behind: only deviations count
    """

    criterion: OverData
    samples: int = 256
    centred: bool = True
    aggregate: Aggregate = "sum"
    normalize: Normalize = "none"
    seed: int = 0

    def judges(self, coupling: Coupling, group: Group) -> bool:
        """Whether the criterion can tell a group's channels apart."""
        return bool(gates(coupling, group) if self.criterion == "taylor" else readers(coupling, group))

    def of(
        self, coupling: Coupling, groups: Sequence[Group], data: Data, progress: Progress = silent
    ) -> dict[Group, np.ndarray]:
        """The scores `[channels]` of the groups that it judges; the lowest go first.

        Raises PruneirError where ONNX Runtime cannot run the graph, or for taylor torch is not there or cannot.
        """
        judged = [group for group in groups if self.judges(coupling, group)]
        limit, seed = self.samples, self.seed
        if self.criterion == "wanda":
            rows = wanda(coupling, judged, data, limit=limit, centred=self.centred, progress=progress)
        elif self.criterion == "optimal-brain":
            rows = optimal_brain(coupling, judged, data, limit=limit, seed=seed, progress=progress)
        else:
            from pruneir.training.extra import require_torch  # noqa: PLC0415 - torch is an extra

            require_torch()
            from pruneir.training.taylor import taylor  # noqa: PLC0415

            moved = taylor(coupling, judged, data, limit=limit, seed=seed, progress=progress)
            rows = {group: [score] for group, score in moved.items()}
        return {group: combined(row, self.aggregate, self.normalize) for group, row in rows.items()}
