"""A small detector of bright squares and bars, and scenes that it can learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from pruneir.detection.anchors import default_boxes
from pruneir.graph import Graph, parse

Array = np.ndarray[Any, Any]

SIDE = 24
ANCHORS = default_boxes([(6, 6), (3, 3)], [0.25, 0.5, 0.8], [(2.0,), (2.0,)])
SOURCE = """
x[N,1,24,24] -> loc, conf {
  a = Conv(x, wa[16,1,3,3], pads=[1,1,1,1], strides=[2,2])
  an = BatchNormalization(a, ga[16], ba[16], ma[16], va[16])
  ar = Relu(an)
  b = Conv(ar, wb[32,16,3,3], pads=[1,1,1,1], strides=[2,2])
  bn = BatchNormalization(b, gb[32], bb[32], mb[32], vb[32])
  br = Relu(bn)
  c = Conv(br, wc[32,32,3,3], pads=[1,1,1,1], strides=[2,2])
  cn = BatchNormalization(c, gc[32], bc[32], mc[32], vc[32])
  cr = Relu(cn)
  lb = Conv(br, wlb[12,32,3,3], blb[12], pads=[1,1,1,1])
  lbt = Transpose(lb, perm=[0,2,3,1])
  lbr = Reshape(lbt, {0,-1,4})
  lc = Conv(cr, wlc[12,32,3,3], blc[12], pads=[1,1,1,1])
  lct = Transpose(lc, perm=[0,2,3,1])
  lcr = Reshape(lct, {0,-1,4})
  loc = Concat(lbr, lcr, axis=1)
  kb = Conv(br, wkb[9,32,3,3], bkb[9], pads=[1,1,1,1])
  kbt = Transpose(kb, perm=[0,2,3,1])
  kbr = Reshape(kbt, {0,-1,3})
  kc = Conv(cr, wkc[9,32,3,3], bkc[9], pads=[1,1,1,1])
  kct = Transpose(kc, perm=[0,2,3,1])
  kcr = Reshape(kct, {0,-1,3})
  conf = Concat(kbr, kcr, axis=1)
}
"""


def detector(seed: int = 0, *, anchors: bool = True, end: str = "") -> Graph:
    """A detector with two maps, 135 anchors and 2 classes.

    anchors  whether the graph holds them
    end      what makes `conf` of `scores`, such as `conf = Softmax(scores, axis=2)`
    """
    source = SOURCE
    if end:
        source = source.replace("conf = Concat", "scores = Concat").replace("}\n", "}").rstrip().removesuffix("}")
        source += f"  {end}\n}}\n"
    graph = parse(source, seed=seed)
    if anchors:
        graph.set_initializer("anchors", ANCHORS)
    return graph


def scenes(count: int, seed: int = 0) -> dict[str, Array]:
    """Images with one or two bright things: class 0 a square, class 1 a bar twice as wide as high; boxes in shares."""
    random = np.random.default_rng(seed)
    x = random.normal(0, 0.1, (count, 1, SIDE, SIDE)).astype(np.float32)
    y = np.full((count, 2, 5), -1, np.float32)
    for number in range(count):
        for place in range(random.integers(1, 3)):
            kind = int(random.integers(0, 2))
            height = int(random.integers(5, 9))
            width = height * (kind + 1)
            top = int(random.integers(0, 12 - height + 1)) + 12 * place
            left = int(random.integers(0, SIDE - width + 1))
            x[number, 0, top : top + height, left : left + width] += 1
            y[number, place] = [kind, *(np.array([left, top, left + width, top + height]) / SIDE)]
    return {"x": x, "y": y}


def listed(arrays: dict[str, Array]) -> dict[str, Array]:
    """The same scenes, their boxes as `[M, 6]`: image index, class, box."""
    image, place = np.nonzero(arrays["y"][..., 0] >= 0)
    return {"x": arrays["x"], "y": np.column_stack([image, arrays["y"][image, place]]).astype(np.float32)}
