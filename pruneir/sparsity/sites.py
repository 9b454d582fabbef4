"""Values that layers read, and whose smaller elements may be dropped: what lies behind a first layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from onnx import TensorProto

from pruneir.graph import Graph, Operator
from pruneir.names import is_called
from pruneir.pipeline.passes import Context
from pruneir.shapes import two_sizes
from pruneir.sparsity.weights import weights
from pruneir.sparsity.winners import winners

_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE)
"""What TopK compares in every runtime."""
_OTHER_LAYERS = ("LSTM", "GRU", "RNN", "Attention")


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A value, and the layers that multiply it with a weight; other readers are left alone.

    names  what a glob may call it by: the value, the layers' labels, their weights
    shape  `[samples, …]`; None at an axis whose length depends on the input
    """

    value: str
    readers: tuple[tuple[Operator, int], ...]
    names: frozenset[str]
    shape: tuple[int | None, ...]
    elem_type: int

    @property
    def layer(self) -> str:
        """The label of the first layer that reads it."""
        return self.readers[0][0].label

    @property
    def size(self) -> int | None:
        """Elements a sample; None where that depends on the input."""
        known = [length for length in self.shape[1:] if length is not None]
        return prod(known) if len(known) == len(self.shape) - 1 else None

    def is_called(self, globs: Iterable[str]) -> bool:
        """Whether a glob matches one of its names."""
        return is_called(self.names, globs)


def sites(graph: Graph, context: Context) -> list[Site]:
    """The values whose readers the user's globs leave free, in the order of their first readers.

    A value that is behind a mask already is the value before that mask. The network's input is none, nor what reaches a
    layer from it without another layer between.
    """
    behind, sources = _behind_layers(graph), {mask.output: mask.source for mask in winners(graph)}
    readers: dict[str, list[tuple[Operator, int]]] = {}
    names: dict[str, set[str]] = {}
    for weight in weights(graph):
        if weight.is_called(context.keep) or (context.only and not weight.is_called(context.only)):
            continue
        for operator, slot in weight.uses:
            read = operator.inputs[1 - slot]
            if read in behind and graph.constant(read) is None:
                value = sources.get(read, read)
                readers.setdefault(value, []).append((operator, 1 - slot))
                names.setdefault(value, {value}).update((operator.label, weight.name))
    order = {operator: index for index, operator in enumerate(graph.operators)}
    first, second = two_sizes(graph) if readers else (None, None)
    found = []
    for value, some in sorted(readers.items(), key=lambda entry: order[entry[1][0][0]]):
        assert first is not None
        assert second is not None
        here, there = first.shape(value), second.shape(value)
        if here is None or there is None or len(here) < 2 or first.elem_type(value) not in _TYPES:
            continue
        shape = tuple(a if a == b else None for a, b in zip(here, there, strict=True))
        found.append(Site(value, tuple(some), frozenset(names[value]), shape, first.elem_type(value)))
    return found


def _behind_layers(graph: Graph) -> set[str]:
    """Values that a layer had a part in."""
    layers = {operator for weight in weights(graph) for operator, _ in weight.uses}
    found: set[str] = set()
    for operator in graph.operators:
        if operator in layers or operator.is_a(*_OTHER_LAYERS) or not found.isdisjoint(operator.inputs):
            found.update(filter(None, operator.outputs))
    return found
