"""Which channels belong together, and why others are locked: all of a network, or what touches one name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from pruneir.coupling import Coupling, Group
from pruneir.coupling.labels import Labels
from pruneir.errors import PruneirError, Refusal
from pruneir.pipeline.prepare import opened, prepared
from pruneir.pipeline.registry import did_you_mean
from pruneir.pipeline.structured import locks
from pruneir.report import numbers
from pruneir.report.document import SCHEMA, refusal
from pruneir.report.table import refusals

Sizes = Mapping[str, tuple[int | str, ...]]


@dataclass(frozen=True, slots=True)
class AxisFacts:
    """One axis of one tensor: what it is to its operator, which groups its positions are in, what locks the others."""

    tensor: str
    axis: int
    length: int
    role: str
    groups: tuple[Group, ...]
    locks: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a network's channels.

    name     what was asked for; empty: everything
    axes     the axes of that node or tensor
    groups   the groups that it is in, or all
    locks    why the rest stays
    """

    source: str
    name: str
    axes: tuple[AxisFacts, ...]
    groups: tuple[Group, ...]
    locks: tuple[Refusal, ...]

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "schema": SCHEMA,
            "input": self.source,
            "name": self.name or None,
            "axes": [
                {
                    "tensor": each.tensor,
                    "axis": each.axis,
                    "length": each.length,
                    "role": each.role,
                    "groups": [group.name for group in each.groups],
                    "locks": [refusal(lock) for lock in each.locks],
                }
                for each in self.axes
            ],
            "groups": [group_document(group) for group in self.groups],
            "locks": [refusal(lock) for lock in self.locks],
        }

    def table(self, verbose: bool = False, width: int = 80) -> Lines:
        """The same to read."""
        parts: list[RenderableType] = [Text(self.name or Path(self.source).name, style="bold")]
        if self.axes:
            parts.append(Lines(*_axis_lines(self.axes)))
        parts += [Lines(*_group_lines(group, bool(self.name) or verbose)) for group in self.groups]
        if self.name and not self.groups and not self.axes:
            parts.append(Text("no axis of it carries channels", style="dim"))
        if self.locks and not self.name:
            parts.append(refusals(self.locks))
        return Lines(*[Padding(part, (0, 0, 1, 1)) for part in parts])


def explanation(source: str | Path, name: str | None, shapes: Sizes, *, fold: bool = True) -> Explanation:
    """What there is to say of a network file, or of one node, tensor or group in it."""
    coupling = prepared(opened(source, shapes), fold=fold)
    if name is None:
        return Explanation(str(source), "", (), tuple(coupling.groups), tuple(locks(coupling)))
    reader = _Reader(coupling)
    axes = tuple(reader.of(name))
    groups = dict.fromkeys(group for each in axes for group in each.groups)
    groups |= dict.fromkeys(group for group in coupling.groups if group.name == name)
    reasons = dict.fromkeys(lock for each in axes for lock in each.locks)
    return Explanation(str(source), name, axes, tuple(groups), tuple(reasons))


def group_document(group: Group) -> dict[str, Any]:
    """A group as JSON."""
    return {
        "name": group.name,
        "channels": len(group),
        "members": [
            {
                "node": m.operator.label,
                "operator": m.operator.type,
                "tensor": m.use.name,
                "axis": m.axis,
                "role": m.role,
            }
            for m in group.members
        ],
        "values": [{"name": name, "axis": axis} for name, axis in group.values],
        "positions": [inner.name for inner in group.positions],
    }


class _Reader:
    """Looks up axes, and the groups and locks behind their labels."""

    def __init__(self, coupling: Coupling):
        self.coupling = coupling
        self.generators = coupling.generators
        self.group_of = np.full(len(self.generators), -1, np.int64)
        for index, group in enumerate(coupling.groups):
            self.group_of[group.roots] = index

    def of(self, name: str) -> Iterator[AxisFacts]:
        """The axes of a tensor, or of everything that a node reads and defines."""
        graph = self.coupling.graph
        nodes = [operator for operator in graph.operators if operator.label == name]
        if not nodes and name not in graph.network:
            known = [*graph.values, *(operator.label for operator in graph.operators)]
            hint = did_you_mean(name, known, "")
            also = f"; {hint}" if hint.endswith("?") else "; `pruneir inspect` lists the groups"
            raise PruneirError(f"the network has no node, tensor or group '{name}'{also}")
        outputs = {each for node in nodes for each in node.outputs if each}
        for use in self.coupling.traced.uses:
            if use.operator in nodes or use.name == name:
                yield from self._axes(use.name, use.labels, use.roles)
        for value in dict.fromkeys((name, *sorted(outputs))):
            state = self.coupling.traced.values.get(value)
            if state is not None:
                yield from self._axes(value, state.labels, {})

    def _axes(self, name: str, labels: Iterable[Labels | None], roles: Mapping[int, str]) -> Iterator[AxisFacts]:
        for axis, known in enumerate(labels):
            if known is not None and not known.is_data:
                yield self._facts(name, axis, known, roles.get(axis, ""))

    def _facts(self, name: str, axis: int, labels: Labels, role: str) -> AxisFacts:
        leaves = np.unique(self.generators.leaves(labels.base))
        held = self.generators.locked(leaves)
        reasons = (self.generators.reason_of(int(root)) for root in leaves[held])
        shown = dict.fromkeys(reason for reason in reasons if reason is not None and reason.code != "PIR000")
        indices = np.unique(self.group_of[leaves[~held]])
        groups = tuple(self.coupling.groups[int(index)] for index in indices if index >= 0)
        return AxisFacts(name, axis, len(labels), role, groups, tuple(shown))


def _axis_lines(axes: Iterable[AxisFacts]) -> Iterator[Text]:
    """One paragraph for all axes of a tensor of which the same is to be said."""
    for (tensor, role, groups, locked), alike in groupby(axes, lambda a: (a.tensor, a.role, a.groups, a.locks)):
        same = list(alike)
        line = Text(tensor, overflow="fold")
        where = ", ".join(f"{each.axis}" for each in same)
        line.append(f"  ax{'is' if len(same) == 1 else 'es'} {where}{f', {role}' if role else ''}", style="dim")
        for group in groups:
            line.append(f"\n  in group {group.name}", style="green")
        for lock in locked:
            line.append(f"\n  stays: {lock.node}: {lock.reason}.", style="yellow")
            line.append(f" {lock.remedy}." if lock.remedy else "", style="italic")
            line.append(f" [{lock.code}]", style="dim")
        yield line


def _group_lines(group: Group, members: bool) -> Iterator[Text]:
    head = Text(overflow="fold").append(group.name, style="bold")
    yield head.append(f"  {numbers.plural(len(group), 'channel')}, {numbers.plural(len(group.operators), 'layer')}")
    for inner in group.positions:
        yield Text(f"  blocks, each of the {numbers.plural(len(inner), 'position')} of {inner.name}", style="dim")
    for operator in group.operators if members else ():
        inside = [member for member in group.members if member.operator is operator]
        axes = ", ".join(f"{m.use.name}[{m.axis}] {m.role}".strip() for m in inside)
        yield Text(f"  {operator.label}", overflow="fold").append(f"  {operator.type}: {axes}", style="dim")
