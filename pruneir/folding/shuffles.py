"""Channel shuffles: views and a Transpose between them that only reorder one axis are a Gather with constant indices.

A shuffle splits the channels into g groups of c, swaps the two and merges them again. As a Gather it says of every
channel where it goes, so that any of them may be cut; as a Reshape only whole rows or columns of the g × c may.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from pruneir.folding.edit import bypass, only_user
from pruneir.folding.sizes import Column, Samples
from pruneir.folding.transposes import permutation
from pruneir.graph import Graph, Operator

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that only change how axes are counted."""
_LARGEST = 1 << 20
"""Elements of the axes among which a permutation is looked for."""


def gather_shuffle(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """view(T(view(x))) -> Gather(x, indices), where it has x's shape and reorders the positions of one axis."""
    transpose = graph.producer(operator.inputs[0])
    if transpose is None or not transpose.is_a("Transpose") or not _leads_to(graph, transpose, operator):
        return ()
    split = graph.producer(transpose.inputs[0])
    if split is None or not split.is_a(*VIEWS) or not _leads_to(graph, split, transpose):
        return ()
    source, result = split.inputs[0], operator.outputs[0]
    outer, inner = samples.shape(source), samples.shape(split.outputs[0])
    perm = permutation(samples, transpose)
    if outer is None or inner is None or perm is None or not samples.same(source, result):
        return ()
    found = _one_axis(samples, outer, inner, perm)
    if found is None:
        return ()
    axis, order = found
    if not order.size:
        return bypass(graph, operator, source)
    indices = graph.define(samples.fresh_name(graph, f"{operator.label}.indices"), order)
    gather = Operator("Gather", (source, indices), (result,), {"axis": axis}, operator.name, operator.domain)
    graph.replace(operator, gather)
    graph.remove(transpose)
    graph.remove(split)
    return (result,)


def _leads_to(graph: Graph, operator: Operator, reader: Operator) -> bool:
    return only_user(graph, operator.outputs[0]) is reader


def _one_axis(
    samples: Samples, outer: Sequence[Column], inner: Sequence[Column], perm: tuple[int, ...]
) -> tuple[int, np.ndarray] | None:
    """The one axis of `outer` that is reordered when it is viewed as `inner`, transposed and viewed as `outer` again,
    and the order, which is empty where none is; None if more than one is, or what is reordered depends on symbols."""
    still = [axis == source for axis, source in enumerate(perm)]
    first, start = _untouched(samples, outer, inner, still)
    last, end = _untouched(samples, outer[first:][::-1], inner[start:][::-1], still[start:][::-1])
    moved, parts = outer[first : len(outer) - last], inner[start : len(inner) - end]
    if any(len(set(column)) > 1 for column in (*moved, *parts)):
        return None
    lengths, sizes = [column[0] for column in moved], [column[0] for column in parts]
    if not 0 < prod(lengths) == prod(sizes) <= _LARGEST:
        return None
    places = np.arange(prod(lengths)).reshape(sizes)
    places = places.transpose([axis - start for axis in perm[start : len(perm) - end]]).reshape(lengths)
    if np.array_equal(places.ravel(), np.arange(places.size)):
        return 0, np.zeros(0, np.int64)
    for axis in range(len(lengths)):
        order = np.unravel_index(places[(0,) * axis + (slice(None),) + (0,) * (len(lengths) - axis - 1)], lengths)[axis]
        if np.array_equal(np.take(np.arange(places.size).reshape(lengths), order, axis), places):
            return first + axis, order.astype(np.int64)
    return None


def _untouched(
    samples: Samples, outer: Sequence[Column], inner: Sequence[Column], still: Sequence[bool]
) -> tuple[int, int]:
    """How many leading axes of both shapes hold the same positions, where each of `inner` is some of `outer` merged."""
    first = start = 0
    for column, stays in zip(inner, still, strict=True):
        until, merged = first, (1,) * len(column)
        while merged != column and until < len(outer):
            merged = tuple(a * b for a, b in zip(merged, outer[until], strict=True))
            until += 1
        if not stays or merged != column or not all(map(samples.is_certain, outer[first:until])):
            break
        first, start = until, start + 1
    return first, start
