"""Which nodes go, so that a share of the weights goes with them.

A node is a channel of a group: a filter with all that reads it. Its weights are those that only work for it, so that
what a cut leaves of a weight is the product of what it leaves of its axes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import ceil, log2, prod

import numpy as np

from pruneir.coupling import Coupling, Group, Use
from pruneir.graph import Graph
from pruneir.pipeline.plan import Cuts
from pruneir.selection import Budget, Scores, choose
from pruneir.selection.choose import Removed
from pruneir.sparsity.weights import Masks, Weight


class WeightCounter:
    """Counts what different cuts leave of some weights."""

    def __init__(self, coupling: Coupling, counted: Iterable[Weight]):
        self.coupling, self.counted = coupling, list(counted)
        sizes = {weight.name: weight.array.size for weight in self.counted}
        self.total = sum(sizes.values())
        by_name: dict[str, list[Use]] = defaultdict(list)
        for use in coupling.traced.uses:
            if use.name in sizes:
                by_name[use.name].append(use)
        self._uses = [(sizes[name], uses[0]) for name, uses in by_name.items()]

    def left(self, removed: Removed) -> int:
        """Entries that are left when some channels go."""
        cut = self.coupling.cut(self.coupling.dead(removed.items()))
        gone = 0
        for size, use in self._uses:
            share = prod(cut.count(each) / len(each) for each in use.labels if cut.touches(each))
            gone += size - round(size * share)
        return self.total - gone


def lowest_nodes(counter: WeightCounter, scores: Scores, budget: Budget, goal: float) -> Removed:
    """The channels of the lowest scores that go, the fewest that suffice, or all that the budget's caps let go.

    goal  how many of the counted weights may be left
    """

    def at(ratio: float) -> Removed:
        return choose(scores, replace(budget, ratio=ratio))

    if counter.left(at(0.0)) <= goal:
        return at(0.0)
    if counter.left(at(1.0)) > goal:
        return at(1.0)
    low, high = 0.0, 1.0
    for _ in range(ceil(log2(max(sum(map(len, scores.values())), 2))) + 1):
        middle = (low + high) / 2
        low, high = (low, middle) if counter.left(at(middle)) <= goal else (middle, high)
    return at(high)


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
