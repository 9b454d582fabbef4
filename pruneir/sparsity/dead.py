"""Channels that a network computes for nothing: nobody weighs them, or they are the same whatever comes in.

A channel is dead if each operator that sums over it either has only zero weights for it, or can take what it adds into
its bias, since it is a constant (Han et al., NIPS 2015, section 3.5, where neurons without inputs or outputs go).
Weights towards dead channels do not count: what is alive is what somebody alive needs, as a garbage collector sees it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.constants import Moments, exact_constants, pads_with_zeros
from pruneir.constants.linear import linear
from pruneir.coupling import Coupling, Group
from pruneir.coupling.generators import Ids
from pruneir.coupling.labels import Labels
from pruneir.coupling.rule import Reading
from pruneir.graph import Graph
from pruneir.selection.choose import Removed

PADDED = "{count} constant: zero padding before '{reader}' keeps {them}"


@dataclass(frozen=True, slots=True)
class Dead:
    """What can go without a trace.

    removed    channels by group; one of each group stays
    constants  of values, for those of the channels that are weighed
    unread     how many of the channels have no weight that is not zero
    why        by group, what keeps channels that are constant
    """

    removed: Removed
    constants: Mapping[str, Moments]
    unread: int
    why: Mapping[str, str]


def dead_channels(coupling: Coupling, groups: Sequence[Group]) -> Dead:
    """The dead channels of some groups."""
    return _Search(coupling, groups).run()


@dataclass(frozen=True, slots=True)
class _Reader:
    """What an operator hears of the channels that it sums over.

    absorbed  `[n]`: what is constant, and goes into its bias
    weights   `[groups, outputs, inputs]`: where they are not zero; None where they vary
    outputs   of the channels that it makes, group by group; None where they stay
    """

    reading: Reading
    absorbed: np.ndarray
    weights: np.ndarray | None = None
    outputs: Labels | None = None


class _Search:
    """The greatest fixpoint: all channels are dead but those that somebody alive misses."""

    def __init__(self, coupling: Coupling, groups: Sequence[Group]):
        self.coupling, self.generators = coupling, coupling.generators
        self.groups = [group for group in groups if all(member.role != "recurrent" for member in group.members)]
        self.constants = exact_constants(coupling)
        self.dead = coupling.dead((group, np.arange(len(group))) for group in self.groups)
        self.readers = [self._reader(reading) for reading in coupling.traced.readings if not reading.labels.is_data]
        self.makers: dict[int, list[int]] = defaultdict(list)
        """By generator, which of the readers make channels of it."""
        for index, reader in enumerate(self.readers):
            if reader.outputs is not None:
                for generator in np.unique(self._leaves(reader.outputs)).tolist():
                    self.makers[generator].append(index)

    def run(self) -> Dead:
        """Start from all channels, and take out what is missed until no more is: what feeds only itself is dead too."""
        self._settle(range(len(self.readers)))
        while whole := [group.roots[0] for group in self.groups if self.dead[group.roots].all()]:
            self._settle(self._revive(np.array(whole)))
        found = {group: np.flatnonzero(self.dead[group.roots]) for group in self.groups}
        removed = {group: channels for group, channels in found.items() if len(channels)}
        heard = np.zeros(len(self.generators), bool)
        for reader in self.readers:
            heard[self._missed(reader, self._weighed(reader))] = True
        unread = sum(int((~heard[group.roots[channels]]).sum()) for group, channels in removed.items())
        return Dead(removed, self.constants, unread, self._padded())

    def _settle(self, readers: Iterable[int]) -> None:
        """Let live whatever is missed, from the end on, until no more is."""
        waiting = dict.fromkeys(readers)
        while waiting:
            reader = self.readers[waiting.popitem()[0]]
            missed = self._missed(reader, self._weighed(reader) & ~reader.absorbed)
            waiting |= dict.fromkeys(self._revive(missed[self.dead[missed]]))

    def _revive(self, generators: Ids) -> list[int]:
        """Let some generators live; the readers that make channels of them."""
        self.dead[generators] = False
        return [index for generator in generators.tolist() for index in self.makers.get(generator, ())]

    def _reader(self, reading: Reading) -> _Reader:
        weights = _columns(self.coupling.graph, reading)
        absorbed = self._absorbed(reading)
        if weights is None:
            return _Reader(reading, absorbed)
        state = self.coupling.traced.values[reading.operator.outputs[0]]
        axis = 1 if reading.operator.is_a("Conv", "ConvTranspose") else len(state.labels) - 1
        labels = state.labels[axis]
        fits = labels is not None and len(labels) == weights.shape[0] * weights.shape[1]
        return _Reader(reading, absorbed, weights, labels if fits else None)

    def _missed(self, reader: _Reader, positions: np.ndarray) -> Ids:
        """The generators of some positions, `[n]`."""
        labels = reader.reading.labels
        rows = positions.reshape(labels.outer, len(labels.base), labels.inner).any(axis=(0, 2))
        return np.unique(self._leaves(labels)[rows])

    def _leaves(self, labels: Labels) -> Ids:
        return self.generators.leaves(labels.base)

    def _weighed(self, reader: _Reader) -> np.ndarray:
        """Which positions have a weight that is not zero towards an output that lives, `[n]`."""
        if reader.weights is None:
            return np.ones(len(reader.reading.labels), bool)
        if reader.outputs is None:
            return np.asarray(reader.weights.any(axis=1).reshape(-1))
        alive = reader.outputs.spread(np.logical_not(self.dead[self._leaves(reader.outputs)].any(axis=1)))
        there = reader.weights & alive.reshape(*reader.weights.shape[:2], 1)
        return np.asarray(there.any(axis=1).reshape(-1))

    def _absorbed(self, reading: Reading) -> np.ndarray:
        """Which positions are constant, and can be taken into the operator's bias exactly."""
        known = self._known(reading)
        if known is None:
            return np.zeros(len(reading.labels), bool)
        fixed = known.variance == 0
        matrix = linear(self.coupling.graph, reading.operator)
        exact = matrix is not None and matrix.exact and reading.slot == 0 and not pads_with_zeros(reading.operator)
        return np.asarray(fixed if exact else fixed & (known.mean == 0))

    def _known(self, reading: Reading) -> Moments | None:
        known = self.constants.get(reading.operator.inputs[reading.slot])
        fits = known is not None and known.axis == reading.axis and len(known.mean) == len(reading.labels)
        return known if fits else None

    def _padded(self) -> dict[str, str]:
        """By group, which constant channels stay for the zeros around an image."""
        group_of = np.full(len(self.generators), -1)
        for index, group in enumerate(self.groups):
            group_of[group.roots] = index
        why = {}
        for reader in self.readers:
            reading = reader.reading
            known = self._known(reading)
            if known is None or not pads_with_zeros(reading.operator):
                continue
            held = group_of[self._missed(reader, self._weighed(reader) & (known.variance == 0) & (known.mean != 0))]
            for index, count in zip(*np.unique(held[held >= 0], return_counts=True), strict=True):
                them = "it" if count == 1 else "them"
                why[self.groups[index].name] = PADDED.format(count=count, reader=reading.operator.label, them=them)
        return why


def _columns(graph: Graph, reading: Reading) -> np.ndarray | None:
    """The weights of the axis that is read, taps as one, `[groups, outputs, inputs]`; None where they vary."""
    matrix = linear(graph, reading.operator) if reading.slot == 0 else None
    if matrix is None:
        return None
    found = np.asarray((matrix.weights != 0).any(axis=1))
    return found if found.shape[0] * found.shape[2] == len(reading.labels) else None
