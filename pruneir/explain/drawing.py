"""The neighbourhood of groups as a graphviz drawing.

Operators whose constants a group runs through are filled, those that only pass it on are plain, and the edges that
carry it are bold. Around them stand, dashed, the groups on the other side, and in grey what is locked there, with the
codes of the reasons.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pruneir.coupling import Coupling, Group, Member
from pruneir.explain.layers import groups_of
from pruneir.explain.reasons import Reasons
from pruneir.graph import Operator

_COLOURS = ("#9bd3a8", "#f5c982", "#a9c5f2", "#e3a9c9", "#c9b8ee", "#d8d98a")


def drawing(coupling: Coupling, groups: Iterable[Group], names: Iterable[str] = ()) -> str:
    """A graph in the dot language.

    groups  whose members are drawn
    names   operators and values that are drawn although no channel of theirs is free
    """
    return _Drawing(coupling, list(groups), set(names)).text()


@dataclass(slots=True)
class _Drawing:
    coupling: Coupling
    groups: list[Group]
    names: set[str]
    lines: list[str] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    members: dict[Operator, dict[int, list[Member]]] = field(default_factory=dict)
    """By operator and index of a group."""

    def text(self) -> str:
        graph = self.coupling.graph
        reasons, group_of = Reasons(self.coupling), groups_of(self.coupling)
        outputs = set(graph.outputs)
        carried = {name for group in self.groups for name, _ in group.values}
        for index, group in enumerate(self.groups):
            for member in group.members:
                self.members.setdefault(member.operator, {}).setdefault(index, []).append(member)
        inside = self._operators(carried)
        identifiers = {operator: f"n{index}" for index, operator in enumerate(graph.operators) if operator in inside}
        for operator, identifier in identifiers.items():
            self.lines.append(self._operator(identifier, operator))
        for operator, identifier in identifiers.items():
            for value in dict.fromkeys(name for name in operator.inputs if name and graph.constant(name) is None):
                producer = graph.producer(value)
                source = identifiers.get(producer) if producer is not None else None
                self._edge(source or self._end(value, reasons, group_of), identifier, value, value in carried)
            for value in filter(None, operator.outputs):
                outside = [user for user in graph.users(value) if user not in inside]
                if outside or value in outputs:
                    self._edge(identifier, self._end(value, reasons, group_of), value, value in carried)
        head = ["digraph pruneir {", '  rankdir=LR; node [shape=box, fontname="Helvetica", fontsize=11];']
        head.append('  edge [fontname="Helvetica", fontsize=9];')
        ends = [f"  {line}" for line in self.ends.values()]
        return "\n".join([*head, *(f"  {line}" for line in self.lines), *ends, "}"]) + "\n"

    def _operators(self, carried: Iterable[str]) -> set[Operator]:
        """Whatever reads or makes the groups' channels, and what was asked for by name."""
        graph = self.coupling.graph
        found = set(self.members)
        found |= {operator for operator in graph.operators if operator.label in self.names}
        for value in (*carried, *(name for name in self.names if name in graph.network)):
            producer = graph.producer(value)
            found |= {*graph.users(value), *([producer] if producer is not None else [])}
        return {operator for operator in found if operator in graph.network}

    def _operator(self, identifier: str, operator: Operator) -> str:
        mine = self.members.get(operator, {})
        lines = [operator.label, operator.type]
        lines += [", ".join(f"{m.use.name}[{m.axis}] {m.role}".strip() for m in used) for used in mine.values()]
        fill = f', style=filled, fillcolor="{_COLOURS[min(mine) % len(_COLOURS)]}"' if mine else ""
        return f"{identifier} [label={_quoted(*lines)}{fill}];"

    def _end(self, value: str, reasons: Reasons, group_of: np.ndarray) -> str:
        """What stands where the drawing ends: the groups that a value carries there, or the codes that lock it."""
        if value in self.ends:
            return self.ends[value].partition(" ")[0]
        state = self.coupling.traced.values.get(value)
        coupled = [known for known in state.labels if known is not None and not known.is_data] if state else []
        generators = self.coupling.generators
        indices = {int(i) for known in coupled for i in np.unique(group_of[generators.factors(known.base)]) if i >= 0}
        groups = [self.coupling.groups[index] for index in sorted(indices)]
        codes = sorted({reason.code for known in coupled for reason in reasons.holding(known)})
        identifier = f"end{len(self.ends)}"
        if groups:
            shown = [value, *(f"group {group.name}: {len(group)}" for group in groups)]
            style = "style=dashed"
        else:
            shown = [value, *(" ".join(codes[i : i + 4]) for i in range(0, len(codes), 4))]
            style = 'style=filled, fillcolor="#d9d9d9", fontcolor="#555555"'
        self.ends[value] = f"{identifier} [label={_quoted(*shown)}, {style}];"
        return identifier

    def _edge(self, source: str, target: str, value: str, carries: bool) -> None:
        shown = "×".join(self._sizes(value)) or "?"
        style = ', penwidth=2.5, color="#2f7d4a"' if carries else ', color="#999999"'
        self.lines.append(f"{source} -> {target} [label={_quoted(shown)}{style}];")

    def _sizes(self, value: str) -> list[str]:
        """The shape of a value, with N for a batch that the file leaves open."""
        shapes, graph = self.coupling.traced.shapes, self.coupling.graph
        sizes = list(map(str, shapes.shape(value) or ()))
        for name, shape in shapes.inputs.items():
            declared = graph.type_of(name)
            free = declared is not None and declared.shape and not isinstance(declared.shape[0], int)
            if free and sizes and sizes[0] == str(shape[0]):
                sizes[0] = "N"
        return sizes


def _quoted(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
