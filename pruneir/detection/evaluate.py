"""Mean average precision of a network on samples with boxes as labels."""

from __future__ import annotations

import numpy as np

from pruneir.data import Data
from pruneir.detection.anchors import Anchors
from pruneir.detection.detect import Detector
from pruneir.detection.heads import heads_of
from pruneir.detection.metrics import VOC, MeanPrecision, Rule
from pruneir.detection.truths import padded
from pruneir.errors import PruneirError
from pruneir.graph import Graph


def mean_precision(
    graph: Graph, data: Data, anchors: Anchors | None = None, rule: Rule = VOC, detector: Detector | None = None
) -> MeanPrecision:
    """How good a network's heads are on all of the data; `points` of what it returns is mAP, of 100.

    anchors   of its offsets; default: those that the graph holds
    detector  how heads are read

    PruneirError for data without labels, and for a network whose outputs are not loc and conf. A conf that ends in a
    Softmax or Sigmoid is taken as it is.
    """
    from pruneir.onnx_io import session  # noqa: PLC0415 - ONNX Runtime is slow to import

    running, counted, detector, heads = session(graph), MeanPrecision(rule), detector or Detector(), None
    for batch in data.batches():
        labels = batch.own_labels
        if labels is None:
            raise PruneirError("mean average precision needs boxes as labels, and the data have none; give --labels")
        outputs = [np.asarray(each)[: batch.count] for each in running.run(graph.outputs, batch.feeds)]
        heads = heads or heads_of([graph], {n: o.shape for n, o in zip(graph.outputs, outputs, strict=True)}, anchors)
        found = heads.detections(outputs, detector)
        for one, truths in zip(found, padded(labels, batch.count), strict=True):
            counted.add(one, truths)
    return counted
