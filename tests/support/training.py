"""A small network and samples that it can learn, for tests of training."""

from __future__ import annotations

import numpy as np

from pruneir.data import Data, from_arrays
from pruneir.graph import Graph, parse

SOURCE = """
x[N,1,6,6] -> y[N,3] {
  a = Conv(x, wa[8,1,3,3], pads=[1,1,1,1])
  n = BatchNormalization(a, g[8], b[8], m[8], v[8])
  r = Relu(n)
  c = Conv(r, wc[6,8,3,3])
  q = Relu(c)
  p = GlobalAveragePool(q)
  f = Flatten(p)
  y = Gemm(f, wy[6,3], by[3])
}
"""


def network(seed: int = 0) -> Graph:
    """A classifier of 6×6 images into 3 classes, with one BatchNorm."""
    return parse(SOURCE, seed=seed)


def arrays(count: int = 96, seed: int = 0, *, labels: bool = True) -> dict[str, np.ndarray]:
    """Images whose class is where they are bright: top, middle or bottom."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, count)
    x = random.normal(0, 0.5, (count, 1, 6, 6)).astype(np.float32)
    for sample, place in enumerate(y):
        x[sample, 0, 2 * place : 2 * place + 2, 2 * place : 2 * place + 2] += 2
    return {"x": x, "y": y} if labels else {"x": x}


def samples(count: int = 96, seed: int = 0, *, labels: bool = True, graph: Graph | None = None) -> Data:
    """The same, as data of the network."""
    return from_arrays(arrays(count, seed, labels=labels), graph or network())
