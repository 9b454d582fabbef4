"""Channels that a network computes for nothing: nobody weighs them, or they are the same whatever comes in.

A channel is dead if each operator that sums over it either has only zero weights for it, or can take what it adds into
its bias, since it is a constant (Han et al., NIPS 2015, section 3.5, where neurons without inputs or outputs go).
Weights towards dead channels do not count: what is alive is what somebody alive needs, as a garbage collector sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.constants import Moments, exact_constants, pads_with_zeros
from pruneir.constants.linear import linear
from pruneir.coupling import Coupling, Cut, Group
from pruneir.coupling.rule import Reading
from pruneir.graph import Graph, Operator
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


class _Search:
    def __init__(self, coupling: Coupling, groups: Sequence[Group]):
        self.coupling = coupling
        self.groups = [group for group in groups if all(member.role != "recurrent" for member in group.members)]
        self.constants = exact_constants(coupling)

    def run(self) -> Dead:
        """Start from all channels, and take out what is missed until no more is: what feeds only itself is dead too."""
        removed: Removed = {group: np.arange(len(group)) for group in self.groups}
        while True:
            noisy = self._noisy(removed)
            found = {group: dead[~noisy[group.roots[dead]]] for group, dead in removed.items()}
            if all(len(found[group]) == len(dead) for group, dead in removed.items()):
                found = {group: dead[len(dead) == len(group) :] for group, dead in removed.items()}
                if all(len(found[group]) == len(dead) for group, dead in removed.items()):
                    break
            removed = found
        removed = {group: dead for group, dead in removed.items() if len(dead)}
        heard = self._noisy(removed, only_weights=True)
        unread = sum(int((~heard[group.roots[channels]]).sum()) for group, channels in removed.items())
        return Dead(removed, self.constants, unread, self._padded(removed))

    def _noisy(self, removed: Removed, *, only_weights: bool = False) -> np.ndarray:
        """One truth value per generator: whether some operator would miss it."""
        cut = self.coupling.cut(self.coupling.dead(removed.items()))
        noisy = np.zeros(len(self.coupling.generators), bool)
        for reading in self.coupling.traced.readings:
            if reading.labels.is_data:
                continue
            missed = self._weighed(reading, cut)
            if not only_weights:
                missed &= ~self._absorbed(reading)
            self._mark(noisy, reading, missed)
        return noisy

    def _mark(self, noisy: np.ndarray, reading: Reading, missed: np.ndarray) -> None:
        labels = reading.labels
        rows = missed.reshape(labels.outer, len(labels.base), labels.inner).any(axis=(0, 2))
        noisy[self.coupling.generators.leaves(labels.base)[rows]] = True

    def _weighed(self, reading: Reading, cut: Cut) -> np.ndarray:
        """Which positions have a weight that is not zero towards an output that stays, `[n]`."""
        positions = len(reading.labels)
        weights = _columns(self.coupling.graph, reading)
        if weights is None:
            return np.ones(positions, bool)
        outputs = self._kept_outputs(reading.operator, weights.shape[0] * weights.shape[1], cut)
        there = (weights != 0) & outputs.reshape(weights.shape[0], weights.shape[1], 1)
        return np.asarray(there.any(axis=1).reshape(-1))

    def _kept_outputs(self, operator: Operator, count: int, cut: Cut) -> np.ndarray:
        state = self.coupling.traced.values[operator.outputs[0]]
        labels = state.labels[1 if operator.is_a("Conv", "ConvTranspose") else len(state.labels) - 1]
        mask = cut.mask(labels) if labels is not None else np.ones(count, bool)
        return mask if len(mask) == count else np.ones(count, bool)

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

    def _padded(self, removed: Removed) -> dict[str, str]:
        """By group, which constant channels stay for the zeros around an image."""
        cut = self.coupling.cut(self.coupling.dead(removed.items()))
        why = {}
        for reading in self.coupling.traced.readings:
            known = self._known(reading)
            if known is None or reading.labels.is_data or not pads_with_zeros(reading.operator):
                continue
            held = np.zeros(len(self.coupling.generators), bool)
            self._mark(held, reading, self._weighed(reading, cut) & (known.variance == 0) & (known.mean != 0))
            for group in self.groups:
                count = int(held[group.roots].sum())
                if count:
                    them = "it" if count == 1 else "them"
                    why[group.name] = PADDED.format(count=count, reader=reading.operator.label, them=them)
        return why


def _columns(graph: Graph, reading: Reading) -> np.ndarray | None:
    """The weights of the axis that is read, taps as one, `[groups, outputs, inputs]`; None where they vary."""
    matrix = linear(graph, reading.operator) if reading.slot == 0 else None
    if matrix is None:
        return None
    found = np.asarray((matrix.weights != 0).any(axis=1))
    return found if found.shape[0] * found.shape[2] == len(reading.labels) else None
