"""Random inputs that a network accepts."""

from __future__ import annotations

import zlib

import numpy as np
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.shapes import Sizes, at_batch, infer, odd_points, two_sizes


def random_feeds(graph: Graph, *, batch: int = 2, seed: int = 0, sizes: Sizes | None = None) -> dict[str, np.ndarray]:
    """An array per graph input, a function of its name, its shape and the seed.

    Floats are standard normal, integers zeros and ones (as labels, indices and masks take them), booleans either.

    batch  size of a symbolic axis 0; if the graph's shapes fit only one sample, that is one
    sizes  shapes of inputs, instead of the declared ones with symbols at sizes that fit the graph
    """
    shapes = {**_fitting(graph, batch), **(sizes or {})}
    feeds = {}
    for name in graph.data_inputs:
        kind = graph.type_of(name)
        if kind is None or name not in shapes:
            raise PruneirError(f"input '{name}' has no shape to make random data of; give --input-shape or --data")
        feeds[name] = _random(name, shapes[name], kind.elem_type, seed)
    return feeds


def odd_feeds(graph: Graph, *, batch: int = 2, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Random inputs with symbols other than the batch at odd sizes, the smallest first; none if none fit.

    They fit by the shapes alone: whether the network runs on them is for the caller to try.
    """
    first, second = two_sizes(graph)
    points = [point for point in odd_points(graph, first, second) if _is_cheap(point.inputs, first.inputs)]
    lone = _fitting(graph, 1) == _fitting(graph, batch) if points else False
    sizes = [point.inputs if lone else at_batch(graph, point.inputs, batch) for point in reversed(points)]
    return [random_feeds(graph, seed=seed, sizes=shapes) for shapes in sizes]


def _is_cheap(sizes: Sizes, usual: Sizes) -> bool:
    """Whether no axis is much longer than usual: the large sizes are for inference alone."""
    return all(size <= 4 * n for name in sizes for size, n in zip(sizes[name], usual[name], strict=True))


def _fitting(graph: Graph, batch: int) -> dict[str, tuple[int, ...]]:
    """The shapes that fit the graph, at this batch unless they only fit one sample."""
    found = infer(graph).inputs
    return found if found == at_batch(graph, found, 1) else at_batch(graph, found, batch)


def _random(name: str, shape: tuple[int, ...], elem_type: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if elem_type == TensorProto.STRING:
        return np.full(shape, "a", object)
    dtype = tensor_dtype_to_np_dtype(elem_type)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
