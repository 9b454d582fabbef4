"""The outputs by which a network tells boxes: SSD's loc and conf, and the anchors that loc is an offset from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneir.detection.anchors import Anchors, Unanchored, anchors_of
from pruneir.detection.detect import Detections, Detector, loc_and_conf, softmax
from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Heads:
    """Which of a network's outputs are its heads.

    outputs    the names of all, in their order
    loc, conf  those of the heads
    soft       whether conf holds probabilities, not scores
    anchors    one for each row
    """

    outputs: tuple[str, ...]
    loc: str
    conf: str
    soft: bool
    anchors: Anchors

    def detections(self, outputs: Sequence[Array], detector: Detector) -> list[Detections]:
        """What the outputs say is in each image."""
        loc, conf = (outputs[self.outputs.index(name)] for name in (self.loc, self.conf))
        return detector.detect(loc, conf if self.soft else softmax(conf), self.anchors)


def heads_of(graphs: Sequence[Graph], shapes: Mapping[str, tuple[int, ...]], anchors: Anchors | None = None) -> Heads:
    """The heads of the first of some networks with the same outputs.

    shapes   of its outputs, in their order; one sample or several
    anchors  default: those that one of the networks holds, since what no operator reads is cleaned up

    PruneirError where the outputs are no loc and conf; Unanchored where there are no anchors for them.
    """
    loc, conf = loc_and_conf(shapes)
    rows, maker = shapes[loc][1], maker_of(graphs[0], conf)
    found = anchors if anchors is not None else _held(graphs, rows)
    if len(found) != rows:
        raise PruneirError(f"{len(found):,} anchors, but '{loc}' has {rows:,} rows; give those of the network")
    return Heads(tuple(shapes), loc, conf, maker is not None and maker.is_a("Softmax", "Sigmoid"), found)


def heads_if_any(
    graphs: Sequence[Graph], shapes: Mapping[str, tuple[int, ...]], anchors: Anchors | None = None
) -> Heads | None:
    """The same; None where there is nothing to tell boxes by. Anchors that are given must fit."""
    if anchors is None and not _has_heads(shapes):
        return None
    try:
        return heads_of(graphs, shapes, anchors)
    except Unanchored:
        return None


def why_unread(graphs: Sequence[Graph], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Why labels that are boxes say nothing of outputs that are heads; empty where they do, or outputs are none."""
    try:
        if _has_heads(shapes):
            heads_of(graphs, shapes)
    except Unanchored as error:
        return f"labels are boxes, but no mAP can be told: {error}"
    return ""


def maker_of(graph: Graph, value: str) -> Operator | None:
    """The operator that makes a value, whatever copies lie between."""
    operator = graph.producer(value)
    while operator is not None and operator.is_a("Identity", "Dropout"):
        operator = graph.producer(operator.inputs[0])
    return operator


def _has_heads(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    try:
        loc_and_conf(shapes)
    except PruneirError:
        return False
    return True


def _held(graphs: Sequence[Graph], count: int) -> Anchors:
    """The anchors that the first of the graphs holds which holds some."""
    *others, last = graphs
    for graph in others:
        try:
            return anchors_of(graph, count)
        except Unanchored:
            continue
    return anchors_of(last, count)
