"""What passes share that zero weights: which weights, masks, their application, a row for each layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.graph import Graph, Operator
from pruneir.pipeline.passes import Context, LayerRow, Pass, Result
from pruneir.sparsity.weights import Masks, Weight, masked, weights


@dataclass(frozen=True)
class Sparse(Pass):
    """A pass that sets weights to zero; shapes stay."""

    lossy = True

    @abstractmethod
    def masks(self, graph: Graph, chosen: Sequence[Weight], context: Context) -> Masks:
        """What stays of the weights that may be changed, by name; a weight without a mask stays whole."""

    def run(self, graph: Graph, context: Context) -> Result:
        """Set to zero what the masks say."""
        every = weights(graph)
        why = left_alone(every, context)
        masks = self.masks(graph, [weight for weight in every if weight.name not in why], context)
        return zeroed(graph, every, masks, why)


def left_alone(every: Iterable[Weight], context: Context) -> dict[str, str]:
    """The weights that the user's globs bar, by name, and which option does."""
    why = {}
    for weight in every:
        if weight.is_called(context.keep):
            why[weight.name] = "kept by --keep"
        elif context.only and not weight.is_called(context.only):
            why[weight.name] = "left out by --only"
    return why


def zeroed(graph: Graph, every: Sequence[Weight], masks: Masks, why: Mapping[str, str] | None = None) -> Result:
    """The graph with masks applied, a row for each weight; it must equal the graph that multiplies weights by masks.

    why  by name, what is to be said of a weight
    """
    result = masked(graph, masks)
    told = why or {}
    rows = tuple(
        LayerRow(
            name=weight.name,
            layer=weight.layer,
            weights=weight.array.size,
            before=weight.nonzero,
            after=_left(weight, masks.get(weight.name)),
            note=told.get(weight.name, ""),
        )
        for weight in every
    )
    changed = frozenset(row.name for row in rows if row.after < row.before)
    if not changed:
        return Result(graph, layers=rows, notes=(*_others(graph), "no weight is set to zero"))
    before, after = sum(row.before for row in rows), sum(row.after for row in rows)
    kept = f"{before:,} → {after:,} weights that are not zero, {after / sum(row.weights for row in rows):.1%} of all"
    return Result(
        result,
        layers=rows,
        notes=(kept, *_others(graph)),
        changed=changed,
        reference=lambda: multiplied(graph, masks),
    )


def multiplied(graph: Graph, masks: Masks) -> Graph:
    """The graph with every mask as a factor of its weight, in an operator of its own."""
    result = graph.copy()
    for name, mask in masks.items():
        array = graph.constant(name)
        assert array is not None
        whole, factor = result.fresh_name(f"{name}.whole"), result.fresh_name(f"{name}.mask")
        held = result.producer(name)
        if held is not None:
            result.remove(held)
        else:
            del result.initializers[name]
            result.inputs = [each for each in result.inputs if each != name]
        result.define(whole, array)
        result.define(factor, mask.astype(array.dtype))
        result.add(Operator("Mul", (whole, factor), (name,), name=factor))
    return result


def _left(weight: Weight, mask: np.ndarray | None) -> int:
    return weight.nonzero if mask is None else int(np.count_nonzero(weight.array[mask]))


def _others(graph: Graph) -> tuple[str, ...]:
    """Layers with weights of another kind, which stay whole."""
    found = [operator.label for operator in graph.operators if operator.is_a("LSTM", "GRU", "RNN", "Attention")]
    if not found:
        return ()
    return (f"left alone, since weights of recurrences and attention operators are not pruned: {', '.join(found[:3])}",)
