"""The outputs by which a network tells boxes: SSD's loc and conf, and the anchors that loc is an offset from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneir.detection.anchors import Anchors, anchors_of
from pruneir.detection.detect import Detections, Detector, loc_and_conf, softmax
from pruneir.errors import PruneirError
from pruneir.graph import Graph

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Heads:
    """Which of a network's outputs are its heads.

    loc, conf  their positions among the outputs
    soft       whether conf holds probabilities, not scores
    anchors    one for each row
    """

    loc: int
    conf: int
    soft: bool
    anchors: Anchors

    def detections(self, outputs: Sequence[Array], detector: Detector) -> list[Detections]:
        """What the outputs say is in each image."""
        conf = outputs[self.conf]
        return detector.detect(outputs[self.loc], conf if self.soft else softmax(conf), self.anchors)


def heads_of(graph: Graph, shapes: Mapping[str, tuple[int, ...]], anchors: Anchors | None = None) -> Heads:
    """The heads of a network.

    shapes   of its outputs, in their order; one sample or several
    anchors  default: those that the graph holds

    PruneirError where the outputs are no loc and conf, or where there are no anchors for them.
    """
    loc, conf = loc_and_conf(shapes)
    rows, names, maker = shapes[loc][1], list(shapes), graph.producer(conf)
    found = anchors if anchors is not None else anchors_of(graph, rows)
    if len(found) != rows:
        raise PruneirError(f"{len(found):,} anchors, but '{loc}' has {rows:,} rows; give those of the network")
    return Heads(names.index(loc), names.index(conf), maker is not None and maker.is_a("Softmax"), found)


def heads_if_any(
    graphs: Iterable[Graph], shapes: Mapping[str, tuple[int, ...]], anchors: Anchors | None = None
) -> Heads | None:
    """The heads of networks with the same outputs; None where there is nothing to tell boxes by.

    Anchors may be in any of the networks, since what no operator reads is cleaned up; those that are given must fit.
    """
    for graph in graphs:
        try:
            return heads_of(graph, shapes, anchors)
        except PruneirError:
            if anchors is not None:
                raise
    return None
