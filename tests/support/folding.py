"""`fold` on small graphs: what it leaves, and that this computes what the graph did."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from pruneir.graph import Graph, check, parse, text
from pruneir.onnx_io import session
from pruneir.passes.fold import Fold
from pruneir.pipeline.passes import Context, Result

SIZES: list[dict[str, int]] = [{}, {"N": 1, "H": 7, "W": 5}, {"N": 3, "H": 6, "W": 9}]
"""Sizes of symbols; 2 where not named."""


def fold(graph: Graph) -> Result:
    before = text(graph)
    result: Result = Fold().run(graph, Context(graph))
    assert text(graph) == before, "the graph given is not changed"
    check(result.graph)
    assert (result.graph.data_inputs, result.graph.outputs) == (graph.data_inputs, graph.outputs)
    for name in (*graph.data_inputs, *graph.outputs):
        assert result.graph.type_of(name) == graph.type_of(name)
    return result


def outputs(graph: Graph, sizes: Mapping[str, int], like: Graph | None = None) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    feeds = {}
    for name in graph.data_inputs:
        kind = (like or graph).type_of(name)
        assert kind is not None
        assert kind.shape is not None
        shape = [dim if isinstance(dim, int) and dim >= 0 else sizes.get(str(dim), 2) for dim in kind.shape]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        feeds[name] = (random.standard_normal(shape) if dtype.kind != "i" else random.integers(0, 3, shape)).astype(
            dtype
        )
    return list(session(graph, threads=1, optimize="none").run(None, feeds))


def assert_equal(a: Graph, b: Graph, sizes: Mapping[str, int]) -> None:
    for x, y in zip(outputs(a, sizes), outputs(b, sizes, like=a), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(y, x, rtol=1e-6, atol=1e-7)


def assert_left(source: str, left: str) -> None:
    """What `fold` leaves of a graph, by type, and that it computes what the graph did and is all that can be done."""
    graph = parse(source)
    result = fold(graph)
    assert " ".join(sorted(operator.type for operator in result.graph.operators)) == left, text(result.graph)
    for sizes in SIZES:
        assert_equal(graph, result.graph, sizes)
    again = fold(result.graph)
    assert text(again.graph) == text(result.graph), "a second time finds nothing"
    assert again.notes == ("nothing to fold",)
