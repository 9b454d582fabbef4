"""Accuracy of a classifier: the share of samples whose largest score is at their label."""

from __future__ import annotations

from dataclasses import dataclass

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


def accuracy(before: Graph, after: Graph, data: Data) -> Accuracy | None:
    """Both accuracies; None unless there is a class label per sample and one output `[N, classes]`."""
    if data.labels is None or data.labels.ndim != 1 or len(before.outputs) != 1:
        return None
    first, last = _hits(before, data), _hits(after, data)
    if first is None or last is None:
        return None
    return Accuracy(first / len(data), last / len(data), len(data))


def _hits(graph: Graph, data: Data) -> int | None:
    running, hits = session(graph), 0
    for batch in data.batches():
        (scores,) = running.run(graph.outputs, batch.feeds)
        rows = np.asarray(scores)
        rows = rows.reshape(rows.shape[:2]) if rows.size == np.prod(rows.shape[:2]) else rows
        if rows.ndim != 2 or len(rows) < batch.count or batch.labels is None:
            return None
        hits += int((rows[: batch.count].argmax(axis=1) == batch.labels[: batch.count]).sum())
    return hits
