"""Which nodes go, so that a share of the weights goes with them.

A node is a channel of a group: a filter with all that reads it. Its weights are those that only work for it, so that
what a cut leaves of a weight is the product of what it leaves of its axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from pruneir.coupling import Coupling, Group
from pruneir.graph import Graph
from pruneir.selection import Budget, choose
from pruneir.selection.choose import Removed
from pruneir.sparsity.weights import Masks, Weight
from pruneir.surgery import Cuts


class WeightCounter:
    """Counts what different cuts leave of some weights."""

    def __init__(self, coupling: Coupling, counted: Iterable[Weight]):
        self.coupling, self.counted = coupling, list(counted)
        sizes = {weight.name: weight.array.size for weight in self.counted}
        self.total = sum(sizes.values())
        self._uses = [(sizes[name], uses[0]) for name, uses in coupling.uses_of.items() if name in sizes]

    def left(self, removed: Removed) -> int:
        """Entries that are left when some channels go."""
        cut = self.coupling.cut(self.coupling.dead(removed.items()))
        gone = 0
        for size, use in self._uses:
            share = prod(cut.count(each) / len(each) for each in use.labels if cut.touches(each))
            gone += size - round(size * share)
        return self.total - gone


def closed_nodes(open_gates: Mapping[Group, np.ndarray], scores: Mapping[Group, np.ndarray], budget: Budget) -> Removed:
    """The channels whose gates are closed; as many stay, the best, as the budget's multiple asks for."""
    shares = {group: float((~gates).mean()) for group, gates in open_gates.items()}
    return choose(scores, replace(budget, ratios={**shares, **budget.ratios}))


def spread(masks: Masks, uncut: Graph, cuts: Cuts) -> dict[str, np.ndarray]:
    """Masks of the weights that a cut left, as masks of the uncut graph's; of what goes, nothing is masked.

    cuts  kept positions by initializer and axis
    """
    found = {}
    for name, mask in masks.items():
        array, kept = uncut.constant(name), cuts.get(name, {})
        assert array is not None
        found[name] = np.ones(array.shape, bool)
        found[name][np.ix_(*(kept.get(axis, np.arange(size)) for axis, size in enumerate(array.shape)))] = mask
    return found
