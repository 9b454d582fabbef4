"""How good a network was before a run and is after, against labels: accuracy of a classifier, mAP of a detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.data import Data
from pruneir.detection.anchors import Anchors
from pruneir.graph import Graph
from pruneir.onnx_io import session
from pruneir.score import LABELLED, Kind, Tally, kind_of, tally_of


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Before and after a run, each 0–1, on so many samples; `kind` is accuracy, or mAP where labels are boxes."""

    before: float
    after: float
    samples: int
    kind: Kind = "accuracy"

    def __str__(self) -> str:
        points = 100 * (self.after - self.before)
        return f"{points:+.2f} points on {self.samples:,} sample{'s' * (self.samples != 1)}"


def accuracy(before: Graph, after: Graph, data: Data, anchors: Anchors | None = None) -> Accuracy | None:
    """Both, on the same batches; None unless labels go with the outputs.

    They do where there is a class per sample and one output `[N, classes]`, or boxes and a detector's heads, whose
    anchors are given or in the graph.
    """
    if not data.has_labels:
        return None
    running = [session(before), session(after)]
    tallies: list[Tally] = []
    for batch in data.batches():
        labels = batch.own_labels
        made = [[np.asarray(o)[: batch.count] for o in each.run(before.outputs, batch.feeds)] for each in running]
        tallies = tallies or [tally_of([before, after], outputs, anchors) for outputs in made]
        for outputs, tally in zip(made, tallies, strict=True):
            if kind_of(outputs, labels, tally.heads) not in LABELLED:
                return None
            tally.add(outputs, labels)
    first, last = (tally.score for tally in tallies)
    return Accuracy(first.points / 100, last.points / 100, first.samples, first.kind)
