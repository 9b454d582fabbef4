"""Names looked up: the axes of a node or tensor, the groups that its positions are in, and what locks the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pruneir.coupling import Coupling, Group
from pruneir.coupling.labels import Labels
from pruneir.errors import PruneirError, Refusal
from pruneir.explain.layers import groups_of
from pruneir.explain.reasons import Reasons
from pruneir.graph import Operator
from pruneir.names import is_called, near


@dataclass(frozen=True, slots=True)
class AxisFacts:
    """One axis of one tensor.

    role    what it is to the operator that reads it; empty for activations
    groups  the groups that its positions are in
    locks   what holds positions, and how many of them
    partly  what holds blocks, or positions in blocks, of those that can go
    """

    tensor: str
    axis: int
    length: int
    role: str
    groups: tuple[Group, ...]
    locks: Mapping[Refusal, int]
    partly: Mapping[Refusal, int]

    @property
    def what(self) -> tuple[object, ...]:
        """All that is to be said of it but its place."""
        return (self.tensor, self.role, self.groups, tuple(self.locks), tuple(self.partly))


class Reader:
    """Finds what a name or glob means, and the facts behind it."""

    def __init__(self, coupling: Coupling, reasons: Reasons | None = None):
        self.coupling = coupling
        self.reasons = reasons or Reasons(coupling)
        self._group_of = groups_of(coupling)

    def names(self, wanted: str) -> list[str]:
        """The nodes, tensors and groups of exactly that name; if there are none, those that match it as a glob."""
        graph = self.coupling.graph
        known = dict.fromkeys(group.name for group in self.coupling.groups)
        known |= dict.fromkeys(operator.label for operator in graph.operators)
        known |= dict.fromkeys(graph.values)
        if wanted in known:
            return [wanted]
        found = [name for name in known if is_called([name], [wanted])]
        if not found:
            also = near(wanted, known) or "`pruneir inspect` lists the groups"
            raise PruneirError(f"the network has no node, tensor or group '{wanted}'; {also}")
        return found

    def nodes(self, names: Iterable[str]) -> list[Operator]:
        """The operators of these names."""
        wanted = set(names)
        return [operator for operator in self.coupling.graph.operators if operator.label in wanted]

    def groups(self, names: Iterable[str], axes: Iterable[AxisFacts]) -> list[Group]:
        """The groups of these names, then those that the axes are in."""
        wanted = set(names)
        found = dict.fromkeys(group for group in self.coupling.groups if group.name in wanted)
        return list(found | dict.fromkeys(group for each in axes for group in each.groups))

    def axes(self, names: Iterable[str]) -> Iterator[AxisFacts]:
        """The axes of tensors, and of everything that nodes read and define."""
        wanted = dict.fromkeys(names)
        nodes = dict.fromkeys(self.nodes(wanted))
        values = dict.fromkeys(wanted)
        for use in self.coupling.traced.uses:
            if use.operator in nodes or use.name in wanted:
                yield from self._axes(use.name, use.labels, use.roles)
        values |= dict.fromkeys(name for node in nodes for name in node.outputs if name)
        for value in values:
            state = self.coupling.traced.values.get(value)
            if state is not None:
                yield from self._axes(value, state.labels, {})

    def _axes(self, name: str, labels: Iterable[Labels | None], roles: Mapping[int, str]) -> Iterator[AxisFacts]:
        for axis, known in enumerate(labels):
            if known is not None and not known.is_data:
                indices = np.unique(self._group_of[self.coupling.generators.factors(known.base)])
                groups = tuple(self.coupling.groups[int(index)] for index in indices if index >= 0)
                holding, partly = self.reasons.holding(known), self.reasons.partly(known)
                yield AxisFacts(name, axis, len(known), roles.get(axis, ""), groups, holding, partly)
