"""Accuracy of a classifier: the share of samples whose largest score is at their label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.data import Data
from pruneir.graph import Graph
from pruneir.onnx_io import session
from pruneir.score import Tally, kind_of


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
    if not data.has_labels:
        return None
    running, tallies = [session(before), session(after)], [Tally(), Tally()]
    for batch in data.batches():
        labels = batch.labels[: batch.count] if batch.labels is not None else None
        for each, tally in zip(running, tallies, strict=True):
            outputs = [np.asarray(output)[: batch.count] for output in each.run(before.outputs, batch.feeds)]
            if kind_of(outputs, labels) != "accuracy":
                return None
            tally.add(outputs, labels)
    first, last = (tally.score for tally in tallies)
    return Accuracy(first.points / 100, last.points / 100, first.samples)
