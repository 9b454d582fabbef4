"""Accuracy of a classifier: the share of samples whose largest score is at their label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneir.data import Data
from pruneir.graph import Graph
from pruneir.onnx_io import session


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Before and after a run, each 0–1, on so many samples."""

    before: float
    after: float
    samples: int

    def __str__(self) -> str:
        points = 100 * (self.after - self.before)
        return f"{points:+.2f} points on {self.samples:,} sample{'s' * (self.samples != 1)}"


def accuracy(before: Graph, after: Graph, data: Data) -> Accuracy | None:
    """Both, on the same batches; None unless there is a class label per sample and one output `[N, classes]`."""
    if not data.has_labels or len(before.outputs) != 1:
        return None
    running, hits, samples = [session(before), session(after)], [0, 0], 0
    for batch in data.batches():
        for index, each in enumerate(running):
            scores = _scores(each.run(before.outputs, batch.feeds), batch.count)
            if scores is None or batch.labels is None or batch.labels.ndim != 1:
                return None
            hits[index] += int((scores.argmax(axis=1) == batch.labels[: batch.count]).sum())
        samples += batch.count
    return Accuracy(hits[0] / samples, hits[1] / samples, samples)


def _scores(outputs: Sequence[Any], count: int) -> np.ndarray | None:
    """The scores of the samples that count, `[count, classes]`; None if the output is something else."""
    rows = np.asarray(outputs[0])
    rows = rows.reshape(rows.shape[:2]) if rows.size == np.prod(rows.shape[:2]) else rows
    return rows[:count] if rows.ndim == 2 and len(rows) >= count else None
