"""Every operator that multiplies and accumulates: whether its outputs and its inputs can lose channels, or why not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from pruneir.coupling import Coupling, Group, Use
from pruneir.coupling.labels import Labels
from pruneir.errors import Refusal
from pruneir.explain.reasons import Reasons
from pruneir.graph import Operator


@dataclass(frozen=True, slots=True)
class Side:
    """The channels that an operator makes, or those that it sums over.

    length   positions of the axis
    free     positions that can go
    groups   the groups that they are in
    reasons  why the others stay
    """

    length: int
    free: int
    groups: tuple[Group, ...]
    reasons: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator."""

    operator: Operator
    outputs: Side
    inputs: Side

    @property
    def free(self) -> bool:
        """Whether it can lose any channel."""
        return bool(self.outputs.groups or self.inputs.groups)


def layers(coupling: Coupling, reasons: Reasons | None = None) -> list[Layer]:
    """All operators with multiply-accumulates, and those that no rule understood, in file order."""
    return _Layers(coupling, reasons or Reasons(coupling)).all()


def groups_of(coupling: Coupling) -> np.ndarray:
    """The index of the group that every class is in; −1: none."""
    found = np.full(len(coupling.generators), -1, np.int64)
    for index, group in enumerate(coupling.groups):
        found[group.roots] = index
    return found


class _Layers:
    def __init__(self, coupling: Coupling, reasons: Reasons):
        self.coupling, self.reasons = coupling, reasons
        self.group_of = groups_of(coupling)
        self.uses: dict[Operator, list[Use]] = defaultdict(list)
        self.read: dict[Operator, list[Labels]] = defaultdict(list)
        for use in coupling.traced.uses:
            self.uses[use.operator].append(use)
        for reading in coupling.traced.readings:
            self.read[reading.operator].append(reading.labels)

    def all(self) -> list[Layer]:
        counted = {term.operator for term in self.coupling.traced.macs}
        refused = {refusal.node for refusal in self.coupling.traced.refusals}
        chosen = [op for op in self.coupling.graph.operators if op in counted or op.label in refused]
        return [Layer(operator, self._outputs(operator), self._inputs(operator)) for operator in chosen]

    def _outputs(self, operator: Operator) -> Side:
        made = self._with_role(operator, "out")
        if not made:
            states = [self.coupling.traced.values.get(name) for name in operator.outputs]
            made = [known for state in states if state is not None for known in state.labels if known is not None]
        return self._side(operator, made or self._everything(operator), "makes")

    def _inputs(self, operator: Operator) -> Side:
        read = [*self.read[operator], *self._with_role(operator, "in")]
        return self._side(operator, read or self._everything(operator), "sums over")

    def _with_role(self, operator: Operator, role: str) -> list[Labels]:
        """The axes of an operator's weights that have this role."""
        weights = [use for use in self.uses[operator] if len(use.labels) > 1]
        return [use.labels[axis] for use in weights for axis, name in use.roles.items() if name == role]

    def _everything(self, operator: Operator) -> list[Labels]:
        """All that an operator reads, where no rule says which of it are channels."""
        states = [self.coupling.traced.values.get(name) for name in operator.inputs]
        read = [known for state in states if state is not None for known in state.labels if known is not None]
        return [*read, *(labels for use in self.uses[operator] for labels in use.labels)]

    def _side(self, operator: Operator, axes: list[Labels], verb: str) -> Side:
        coupled = [labels for labels in axes if not labels.is_data]
        reasons: dict[Refusal, None] = {}
        groups: dict[int, None] = {}
        free = 0
        for labels in coupled:
            reasons |= dict.fromkeys(self.reasons.holding(labels))
            indices = np.unique(self.group_of[self.coupling.generators.factors(labels.base)])
            groups |= dict.fromkeys(int(index) for index in indices if index >= 0)
            free = max(free, len(labels) - self.reasons.held(labels))
        length = max((len(labels) for labels in coupled or axes), default=1)
        if not groups and not reasons:
            reasons[_plain(operator, verb, length)] = None
        return Side(length, free, tuple(self.coupling.groups[index] for index in groups), tuple(reasons))


def _plain(operator: Operator, verb: str, length: int) -> Refusal:
    """Why an axis that nothing holds is in no group."""
    if length == 1:
        return Refusal("PIR005", operator.label, f"{operator.type} {verb} a single channel, and one stays")
    return Refusal(
        "PIR017",
        operator.label,
        f"{operator.type} {verb} positions of data, such as rows, columns or time, not channels",
    )
