"""How good a network is on samples, in points of 0 to 100: what a schedule's tolerance and early stopping go by.

mAP        mean average precision (VOC, IoU ≥ 0.5, the whole area) where labels are boxes, the outputs those of a
           detector, and its anchors known (see `pruneir.detection`)
accuracy   share of samples whose largest score is at their label, where there are labels
agreement  share of samples for which the network decides as another does, where there are none
fidelity   share of the other network's variance that the outputs explain, 1 − Σ(y − y₀)² / Σ(y₀ − ȳ₀)², where they
           are no scores of classes; below 0 for outputs that are worse than their mean
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pruneir.detection.anchors import Anchors
from pruneir.detection.detect import Detector
from pruneir.detection.heads import Heads, heads_if_any, why_unread
from pruneir.detection.metrics import VOC, MeanPrecision
from pruneir.detection.truths import are_boxes, padded
from pruneir.errors import PruneirError
from pruneir.graph import Graph

if TYPE_CHECKING:
    from pruneir.data import Data

Array = np.ndarray[Any, Any]
Kind = Literal["mAP", "accuracy", "agreement", "fidelity"]
LABELLED = ("mAP", "accuracy")
"""What compares with labels."""


@dataclass(frozen=True, slots=True)
class Score:
    """`points` of 100, what they mean, and on how many samples."""

    points: float
    kind: Kind
    samples: int

    def __str__(self) -> str:
        return f"{self.kind} {self.points:.2f} on {self.samples:,} sample{'s' * (self.samples != 1)}"


@dataclass(slots=True)
class Tally:
    """A score that is being counted, batch by batch.

    heads     the outputs that tell boxes, if there are some
    detector  how these are read
    """

    heads: Heads | None = None
    detector: Detector = field(default_factory=Detector)
    kind: Kind | None = None
    samples: int = 0
    _hits: int = 0
    _precision: MeanPrecision = field(default_factory=lambda: MeanPrecision(VOC))
    _sums: list[Array] = field(default_factory=list)

    def add(self, outputs: Sequence[Array], labels: Array | None = None, other: Sequence[Array] | None = None) -> None:
        """Count some samples.

        outputs  the network's outputs, samples along axis 0
        labels   `[n]`, or boxes `[n, most, 5]`, if there are any
        other    the other network's outputs, for a score without labels
        """
        kind = kind_of(outputs, labels, self.heads)
        if self.kind not in (None, kind):
            raise PruneirError(f"some batches can be scored by {self.kind}, others only by {kind}: label all or none")
        self.kind = kind
        if kind == "mAP":
            assert labels is not None
            assert self.heads is not None
            found = self.heads.detections(outputs, self.detector)
            for one, truths in zip(found, padded(labels, len(outputs[0])), strict=True):
                self._precision.add(one, truths)
        elif kind == "accuracy":
            assert labels is not None
            self._hits += int((_decisions(outputs[0]) == labels).sum())
        elif other is None:
            raise PruneirError("a score without labels compares with another network's outputs, and there are none")
        elif kind == "agreement":
            self._hits += int((_decisions(outputs[0]) == _decisions(other[0])).sum())
        else:
            self._compare(outputs, other)
        self.samples += len(outputs[0])

    def _compare(self, outputs: Sequence[Array], other: Sequence[Array]) -> None:
        """Each output counts alike: its squares are divided by its variance in the end, over all its elements."""
        if not self._sums:
            self._sums = [np.zeros(4) for _ in other]
        for sums, ours, theirs in zip(self._sums, outputs, other, strict=True):
            y, y0 = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
            np.add(sums, (np.square(y - y0).sum(), y0.size, y0.sum(), np.square(y0).sum()), out=sums)

    @property
    def score(self) -> Score:
        """The score so far."""
        if self.kind is None:
            raise PruneirError("there are no samples to score on")
        if self.kind == "mAP":
            return Score(self._precision.points, self.kind, self.samples)
        if self.kind != "fidelity":
            return Score(100 * self._hits / self.samples, self.kind, self.samples)
        shares = []
        for error, count, total, squares in self._sums:
            variance = max(squares - total * total / max(count, 1), 0.0)
            shares.append(1 - error / variance if variance > 0 else float(error == 0))
        return Score(100 * float(np.mean(shares)), self.kind, self.samples)


def score(graph: Graph, data: Data, other: Graph | None = None, *, anchors: Anchors | None = None) -> Score:
    """The score of a network on all of the data.

    other    the network that it is compared with where there are no labels
    anchors  of a detector; default: those that one of the graphs holds
    """
    from pruneir.onnx_io import session  # noqa: PLC0415 - ONNX Runtime is slow to import

    tally: Tally | None = None
    running, reference = session(graph), None
    for batch in data.batches():
        outputs = [np.asarray(each)[: batch.count] for each in running.run(graph.outputs, batch.feeds)]
        labels = batch.own_labels
        tally = tally or tally_of([graph, *([other] if other is not None else [])], outputs, anchors)
        theirs = None
        if other is not None and kind_of(outputs, labels, tally.heads) not in LABELLED:
            reference = reference or session(other)
            theirs = [np.asarray(each)[: batch.count] for each in reference.run(other.outputs, batch.feeds)]
        tally.add(outputs, labels, theirs)
    return (tally or Tally()).score


def tally_of(graphs: Sequence[Graph], outputs: Sequence[Array], anchors: Anchors | None = None) -> Tally:
    """A tally for networks that give such outputs; a detector's anchors may be in any of them."""
    shapes = {name: output.shape for name, output in zip(graphs[0].outputs, outputs, strict=True)}
    return Tally(heads_if_any(graphs, shapes, anchors))


def unread(graphs: Sequence[Graph], data: Data) -> str:
    """Why the labels of some samples, boxes, say nothing of networks whose outputs are a detector's heads.

    Empty where they do, where labels are no boxes, and where outputs are no heads. Anchors may be in any network.
    """
    from pruneir.onnx_io import session  # noqa: PLC0415 - ONNX Runtime is slow to import

    if not data.has_labels:
        return ""
    batch = next(data.batches(1, data.batch or 1))
    if batch.own_labels is None or not are_boxes(batch.own_labels):
        return ""
    outputs = session(graphs[0]).run(graphs[0].outputs, batch.feeds)
    return why_unread(graphs, {n: np.shape(o) for n, o in zip(graphs[0].outputs, outputs, strict=True)})


def kind_of(outputs: Sequence[Array], labels: Array | None, heads: Heads | None = None) -> Kind:
    """What can be counted of some samples' outputs, `[n]` labels or boxes given or not."""
    if heads is not None and labels is not None and are_boxes(labels):
        return "mAP"
    classes = len(outputs) == 1 and outputs[0].ndim >= 2 and outputs[0].shape[1] > 1
    classes = classes and outputs[0].size == len(outputs[0]) * outputs[0].shape[1]
    if not classes:
        return "fidelity"
    fits = labels is not None and labels.shape == (len(outputs[0]),)
    return "accuracy" if fits else "agreement"


def _decisions(scores: Array) -> Array:
    return np.asarray(scores.reshape(len(scores), -1).argmax(axis=1))
