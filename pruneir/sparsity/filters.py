"""Zeros on both sides of a channel: in the filters that make it, and in the weights by which all its readers read it.

Multi-layer pruning (Singh et al., "Multi-layer Pruning Framework for Compressing Single Shot MultiBox Detector", WACV
2019) judges a filter by what small weights would leave of it: the share of its own weights below one threshold, and the
share of the next layers' weights on its channel that are. In a detector the next layers are all that read the channel:
of the trunk, and the heads for boxes and classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.coupling import Coupling, Group, Member
from pruneir.graph import Graph
from pruneir.sparsity.weights import Weight, masked, weights


@dataclass(frozen=True, slots=True, eq=False)
class Zeros:
    """Shares of weights below a threshold for each channel of a group, `[channels]`; 0 on a side without weights.

    own   among the weights that make the channel, of all its producers
    next  among the weights that read it, of all its readers
    """

    own: np.ndarray
    next: np.ndarray

    @property
    def either(self) -> np.ndarray:
        """The larger of the two."""
        return np.asarray(np.maximum(self.own, self.next))


def layers_of(coupling: Coupling, groups: Iterable[Group]) -> list[Weight]:
    """The weights that make the channels of some groups, and those that read them, in file order."""
    names = {member.use.name for group in groups for member in group.members if member.role in ("out", "in")}
    return [weight for weight in weights(coupling.graph) if weight.name in names]


def zeros(coupling: Coupling, group: Group, layers: Sequence[Weight], threshold: float) -> Zeros:
    """The shares for the channels of a group, were all weights of some layers below a threshold zero."""
    arrays = {weight.name: weight.array for weight in layers}
    return Zeros(*(_share(group, role, arrays, threshold) for role in ("out", "in")))


def below(graph: Graph, layers: Sequence[Weight], threshold: float) -> Graph:
    """The graph with all weights of some layers below a threshold at zero."""
    return masked(graph, {weight.name: np.abs(weight.array) >= threshold for weight in layers})


def largest_threshold(layers: Sequence[Weight], bears: Callable[[float], bool], steps: int) -> float:
    """The largest threshold for all weights of some layers that something bears, by bisection of the share below it.

    bears  whether it does; taken to be so below one threshold, and no more above
    steps  how often it is asked: the share is found to 2^−steps; 0.0 where nothing above was borne
    """
    sizes = np.sort(np.concatenate([np.abs(weight.array).ravel() for weight in layers]))
    low, high, found = 0, len(sizes), 0.0
    for _ in range(steps):
        middle = (low + high) // 2
        threshold = float(np.nextafter(sizes[middle], np.inf))
        if threshold > found and not bears(threshold):
            high = middle
        else:
            low, found = middle, max(threshold, found)
    return found


def _share(group: Group, role: str, arrays: Mapping[str, np.ndarray], threshold: float) -> np.ndarray:
    found, every = np.zeros(len(group)), np.zeros(len(group))
    sides = {(m.use.name, m.axis): m for m in group.members if m.role == role and m.use.name in arrays}
    for member in sides.values():
        array = arrays[member.use.name]
        small = (np.abs(array) < threshold) | (array == 0)
        rest = tuple(axis for axis in range(small.ndim) if axis != member.axis)
        found += _per_channel(member, small.sum(axis=rest), len(group))
        every += _per_channel(
            member, np.full(small.shape[member.axis], small.size / small.shape[member.axis]), len(group)
        )
    return np.divide(found, every, out=np.zeros(len(group)), where=every > 0)


def _per_channel(member: Member, numbers: np.ndarray, channels: int) -> np.ndarray:
    """Numbers of the positions of an axis, added up for each channel."""
    inside = member.channel >= 0
    return np.bincount(member.channel[inside], weights=numbers[inside], minlength=channels)
