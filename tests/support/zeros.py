"""Networks of which random weights are zero, and from which share of zeros on that pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from pruneir.graph import Graph
from pruneir.sparsity import masked, weights
from pruneir.sparsity.groups import Layout, unfit

_NONE: Mapping[str, float] = MappingProxyType({})


def thinned(graph: Graph, kept: float, width: int = 1, *, of: Mapping[str, float] = _NONE, seed: int = 0) -> Graph:
    """Groups of `width` outputs at one position are zero, drawn at random, in all weights that have such groups.

    kept  the share of the groups that is left
    of    another share for some weights, by name; in a bundle, by the name behind the last slash
    """
    random, masks = np.random.default_rng(seed), {}
    for weight in weights(graph):
        if unfit(weight, width, "outputs"):
            continue
        layout, share = Layout(weight, width), of.get(weight.name.rpartition("/")[2], kept)
        order = random.permutation(layout.nonzero.size).reshape(layout.nonzero.shape)
        masks[weight.name] = layout.mask(order < round(share * order.size))
    return masked(graph, masks)


def break_even(points: Sequence[tuple[float, float]], gain: float = 1.0) -> str:
    """The share at which a ratio that rises, or falls, passes `gain`, on a straight line between two points.

    points  shares with their ratios, in the order of the shares
    """
    rises = points[-1][1] > points[0][1]
    for (share, ratio), (next_share, next_ratio) in pairwise(points):
        if (ratio < gain <= next_ratio) if rises else (ratio >= gain > next_ratio):
            return f"{share + (next_share - share) * (gain - ratio) / (next_ratio - ratio):.0%}"
    passed = (points[0][1] >= gain) == rises
    return f"below {points[0][0]:.0%}" if passed else f"above {points[-1][0]:.0%}"
