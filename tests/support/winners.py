"""Networks whose linear layers read the winners of a value."""

from __future__ import annotations

import numpy as np

from pruneir.graph import Graph, parse
from pruneir.shapes import infer
from pruneir.sparsity.winners import put, put_static

LINEAR = ("Conv", "Gemm", "MatMul")


def winning(
    text: str, rate: float = 0.2, *, step: int = 1, static: bool = False, readers: tuple[str, ...] = LINEAR
) -> Graph:
    """The network, in which operators of some types read the winners of the value `h`, and others all of it."""
    graph, dtype, value = parse(text), np.dtype(np.float32), "h"
    found = [(each, 0) for each in graph.users(value) if each.is_a(*readers)]
    shape = infer(graph).shape(value)
    assert shape is not None
    if static:
        put_static(graph, value, found, 0.5, dtype=dtype)
    else:
        put(graph, value, found, rate, dtype=dtype, rank=len(shape), size=int(np.prod(shape[1:])), step=step)
    return graph
