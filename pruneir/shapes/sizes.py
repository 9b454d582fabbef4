"""Which sizes symbolic dimensions get: the first that make the shapes of the whole graph fit."""

from __future__ import annotations

from collections.abc import Mapping

from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.shapes.batch import free_batch
from pruneir.shapes.walk import Shapes, Sizes, Walk, is_size

_BATCHES = (13, 17)
"""Sizes of a symbolic axis 0: primes that no channel count is a multiple of by accident."""
_SIZES = ((224, 256), (32, 64), (64, 96), (96, 128), (128, 160), (48, 80), (16, 24), (8, 12), (1024, 1280))
"""Sizes tried for other symbolic axes, until one makes the shapes fit; with each the second size."""
_CHOICES = [(batches, sizes) for batches in (_BATCHES, (1, 1)) for sizes in _SIZES]
"""Sizes of axis 0 and of the other axes, in the order in which they are tried; some graphs fit a batch of one only."""

_LONGEST = 2**31 - 1
"""Entries of an axis of an input."""


def input_sizes(graph: Graph, batch: int | None = None, other: int = 224) -> dict[str, tuple[int, ...]]:
    """A shape for every input that has to be fed; symbolic dimensions of one name get one size.

    batch  size of a symbolic axis 0; None: 13, which no channel count is a multiple of by accident
    other  size of any other symbolic axis
    """
    sizes: dict[str, int] = {}
    shapes = {}
    for name in graph.data_inputs:
        declared = graph.type_of(name)
        if declared is None or declared.shape is None:
            continue
        dims = []
        for axis, dim in enumerate(declared.shape):
            size = (_BATCHES[0] if batch is None else batch) if axis == 0 else other
            symbol = dim if isinstance(dim, str) else f"{name}.{axis}"
            dims.append(dim if is_size(dim) else sizes.setdefault(symbol, size))
        shapes[name] = tuple(dims)
    return shapes


def at_batch(graph: Graph, inputs: Sizes, batch: int) -> dict[str, tuple[int, ...]]:
    """These input shapes with another size for every symbolic axis 0, and for whatever else has its symbol."""
    sizes: dict[str, int] = {}
    shapes = {}
    for name, shape in inputs.items():
        declared = graph.type_of(name)
        known = declared.shape if declared is not None and declared.shape is not None else shape
        shapes[name] = tuple(
            size if isinstance(dim, int) else sizes.setdefault(dim or f"{name}.{axis}", size if axis else batch)
            for axis, (dim, size) in enumerate(zip(known, shape, strict=True))
        )
    return shapes


def infer(graph: Graph, inputs: Sizes | None = None) -> Shapes:
    """The shapes of all values.

    inputs  shapes to feed; default: the declared ones, symbols at sizes that fit the graph
    """
    if inputs is not None:
        return Walk(graph, dict(inputs)).run()
    best: Shapes | None = None
    tried: list[dict[str, tuple[int, ...]]] = []
    for (batch, _), (other, _) in _CHOICES:
        sizes = input_sizes(graph, batch, other)
        if sizes in tried:
            continue
        tried.append(sizes)
        found = Walk(graph, sizes).run()
        if best is None or len(found.failures) < len(best.failures):
            best = found
        if not found.failures:
            break
    assert best is not None
    return best


def two_sizes(graph: Graph) -> tuple[Shapes, Shapes]:
    """The shapes at two choices of every symbolic size; the same object twice if the graph has no symbols."""
    first = infer(graph)
    return first, at_other_sizes(graph, first)


def at_other_sizes(graph: Graph, first: Shapes) -> Shapes:
    """The shapes at another choice of every symbolic size than that of `infer`; `first` if the graph has no symbols."""
    second = next((b[1], o[1]) for b, o in _CHOICES if input_sizes(graph, b[0], o[0]) == first.inputs)
    sizes = input_sizes(graph, *second)
    return first if sizes == first.inputs else Walk(graph, sizes).run()


def symbol_of(graph: Graph, name: str, axis: int) -> str:
    """What a symbolic axis of an input is called: its declared name, or one of its own."""
    declared = graph.type_of(name)
    dim = declared.shape[axis] if declared is not None and declared.shape is not None else None
    return dim if isinstance(dim, str) and dim else f"{name}.{axis}"


def with_input_shapes(graph: Graph, given: Mapping[str, tuple[int | str, ...]] | None) -> Graph:
    """A copy whose inputs have these shapes (sizes or symbols), inner values none; the graph itself if none is given.

    Where a fixed size of axis 0 becomes another, constants that hold the old one are rewritten (`free_batch`).
    """
    if not given:
        return graph
    for name, shape in given.items():
        _require_sizes(name, shape)
    copy = graph.copy()
    changed = [name for name, shape in given.items() if _changes_batch(graph, name, shape)]
    if changed:
        free_batch(copy, infer(graph))
    for name, shape in given.items():
        known = copy.type_of(name) if name in copy.data_inputs else None
        if known is None:
            raise PruneirError(f"--input-shape: the model has no input '{name}'; its inputs are {copy.data_inputs}")
        if known.shape is not None and len(known.shape) != len(shape):
            raise PruneirError(f"--input-shape: input '{name}' has {len(known.shape)} axes, not {len(shape)}")
        copy.declare(name, known.elem_type, shape)
    copy.forget_inner_types()
    first, second = two_sizes(copy)
    for node, fault in first.failures.items():
        raise PruneirError(f"--input-shape: the network does not fit: at node '{node}' {fault}")
    for name in changed:
        if not is_size(given[name][0]):
            _require_any_batch(copy, name, first)
    for name in copy.outputs:
        kind = copy.type_of(name)
        here, there = first.shape(name), second.shape(name)
        if kind is not None and here is not None and there is not None:
            same = [n if n == m else None for n, m in zip(here, there, strict=True)]
            copy.declare(name, kind.elem_type, same)
    return copy


def _require_sizes(name: str, shape: tuple[int | str, ...]) -> None:
    """PruneirError for what is neither a size nor a symbol."""
    for size in shape:
        if isinstance(size, bool) or (isinstance(size, int) and not 0 < size <= _LONGEST) or size == "":
            raise PruneirError(f"--input-shape: '{name}' cannot have an axis of {size!r}; give sizes from 1, or words")


def _require_any_batch(graph: Graph, name: str, first: Shapes) -> None:
    """PruneirError where shapes that fit, with one sample, do not with two."""
    if first.inputs[name][0] != 1:
        return
    other = next(other for _, (other, _) in _CHOICES if input_sizes(graph, 1, other) == first.inputs)
    for node, fault in Walk(graph, input_sizes(graph, 2, other)).run().failures.items():
        raise PruneirError(
            f"--input-shape: '{name}' takes one sample at a time: with two, at node '{node}' {fault}; "
            "leave its batch as it is, or export the network with a free one"
        )


def _changes_batch(graph: Graph, name: str, shape: tuple[int | str, ...]) -> bool:
    known = graph.type_of(name)
    if known is None or not known.shape or not shape:
        return False
    return is_size(known.shape[0]) and known.shape[0] != shape[0]
