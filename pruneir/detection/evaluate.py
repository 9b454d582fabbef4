"""Mean average precision of a network on samples with boxes as labels."""

from __future__ import annotations

import numpy as np

from pruneir.data import Data
from pruneir.detection.anchors import Anchors, anchors_of
from pruneir.detection.detect import Detector, loc_and_conf, softmax
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
    Softmax is taken as it is.
    """
    from pruneir.onnx_io import session  # noqa: PLC0415 - ONNX Runtime is slow to import

    running, counted, detector = session(graph), MeanPrecision(rule), detector or Detector()
    for batch in data.batches():
        if batch.labels is None:
            raise PruneirError("mean average precision needs boxes as labels, and the data have none; give --labels")
        outputs = dict(zip(graph.outputs, map(np.asarray, running.run(graph.outputs, batch.feeds)), strict=True))
        loc, conf = loc_and_conf({name: array.shape for name, array in outputs.items()})
        maker = graph.producer(conf)
        scores = outputs[conf][: batch.count]
        chances = scores if maker is not None and maker.is_a("Softmax") else softmax(scores)
        anchors = anchors or anchors_of(graph, outputs[loc].shape[1])
        found = detector.detect(outputs[loc][: batch.count], chances, anchors)
        for one, truths in zip(found, padded(batch.labels, batch.count), strict=True):
            counted.add(one, truths)
    return counted
