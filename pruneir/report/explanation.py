"""Which channels belong together, and why others are locked: all of a network, or what touches one name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.coupling import Coupling, Group, Member
from pruneir.errors import Refusal
from pruneir.explain import AxisFacts, Layer, Reader, Reasons, Side, constraints, drawing, layers, layout, locks
from pruneir.pipeline.prepare import opened, prepared
from pruneir.report.document import SCHEMA, refusal
from pruneir.report.table import refusals

Sizes = Mapping[str, tuple[int | str, ...]]
_SHOWN = 12
"""Members and locked layers in the table; `-v` prints all."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a network's channels.

    name     what was asked for; empty: everything
    names    the nodes, tensors and groups that it means
    axes     the axes of those nodes and tensors
    groups   the groups that they are in, or all
    layers   those nodes, or all, if they multiply and accumulate
    locks    why the rest stays
    more     groups that only `cut_norms` opens, and operators whose statistics it lets change
    """

    source: str
    name: str
    coupling: Coupling
    names: tuple[str, ...]
    axes: tuple[AxisFacts, ...]
    groups: tuple[Group, ...]
    layers: tuple[Layer, ...]
    locks: tuple[Refusal, ...]
    more: Opened | None = None

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "schema": SCHEMA,
            "input": self.source,
            "name": self.name or None,
            "names": list(self.names),
            "axes": [_axis(each) for each in self.axes],
            "groups": [{**group_document(group), "constraints": constraints(group)} for group in self.groups],
            "layers": [_layer(each) for each in self.layers],
            "locks": [refusal(lock) for lock in self.locks],
            "cut_norms": None if self.more is None else self.more.document(),
        }

    def table(self, verbose: bool = False, width: int = 80) -> Lines:
        """The same to read."""
        parts: list[RenderableType] = [Text(self.name or Path(self.source).name, style="bold")]
        if self.more is not None:
            parts.append(Text(str(self.more), style="green"))
        if not self.name:
            parts += self._everything(verbose)
            return Lines(*[Padding(part, (0, 0, 1, 1)) for part in parts])
        parts += [_layer_lines(each) for each in self.layers]
        if self.axes:
            parts.append(Lines(*_axis_lines(self.axes)))
        parts += [Lines(*self._group_lines(group, verbose)) for group in self.groups]
        if not self.groups and not self.axes:
            parts.append(Text("no axis of it carries channels", style="dim"))
        return Lines(*[Padding(part, (0, 0, 1, 1)) for part in parts])

    def dot(self) -> str:
        """The neighbourhood of the group of that name; if there is none, of all groups that it is in."""
        named = [group for group in self.groups if group.name in self.names]
        return drawing(self.coupling, named or self.groups, self.names)

    # Inside

    def _everything(self, verbose: bool) -> list[RenderableType]:
        parts: list[RenderableType] = [_group_table(self.groups)] if self.groups else []
        if self.locks:
            parts.append(refusals(self.locks))
        whole = [each for each in self.layers if not each.free]
        head = f"{len(self.layers) - len(whole)} of {numbers.plural(len(self.layers), 'layer')} can lose channels"
        lines = [Text(head + ("; not:" if whole else ""))]
        for each in whole if verbose else whole[:_SHOWN]:
            codes = dict.fromkeys(r.code for side in (each.outputs, each.inputs) for r in side.reasons)
            lines.append(Text(f"  {each.operator.label}", overflow="fold").append(f"  {' '.join(codes)}", style="dim"))
        if len(whole) > _SHOWN and not verbose:
            lines.append(Text(f"  and {len(whole) - _SHOWN} more; -v names them", style="dim"))
        return [*parts, Lines(*lines)]

    def _group_lines(self, group: Group, verbose: bool) -> Iterator[RenderableType]:
        head = Text("group ", style="dim").append(group.name, style="bold not dim")
        yield head.append(f"  {numbers.plural(len(group), 'channel')}", style="not dim")
        operators = group.operators if verbose else group.operators[:_SHOWN]
        for operator in operators:
            inside = ", ".join(_place(member) for member in group.members if member.operator is operator)
            yield Text(f"  {operator.label}", overflow="fold").append(f"  {operator.type}: {inside}", style="dim")
        if len(operators) < len(group.operators):
            yield Text(f"  and {len(group.operators) - len(operators)} more; -v names them", style="dim")
        if group.values:
            carried = ", ".join(f"{name}[{axis}]" for name, axis in group.values[: None if verbose else 4])
            more = len(group.values) - 4
            also = f" and {more} more values" if more > 0 and not verbose else ""
            yield Text(f"  carried by {carried}{also}", style="dim", overflow="fold")
        for sentence in constraints(group):
            yield Text(f"  {sentence}", style="cyan", overflow="fold")


@dataclass(frozen=True, slots=True)
class Opened:
    """What `cut_norms` opens: groups that there are not without it, their channels, and the operators it concerns."""

    groups: tuple[Group, ...]
    operators: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        return {"groups": [group.name for group in self.groups], "operators": list(self.operators)}

    def __str__(self) -> str:
        if not self.groups:
            return "cut_norms=true opens nothing here"
        named = ", ".join(f"{group.name} ({len(group)})" for group in self.groups)
        return (
            f"cut_norms=true opens {numbers.plural(sum(map(len, self.groups)), 'channel')}: {named}; "
            f"{numbers.plural(len(self.operators), 'operator')} would take statistics over fewer channels"
        )


def explanation(
    source: str | Path, name: str | None, shapes: Sizes, *, fold: bool = True, cut_norms: bool = False
) -> Explanation:
    """What there is to say of a network file, or of the nodes, tensors and groups in it that a name or glob means."""
    graph = opened(source, shapes)
    coupling = prepared(graph, fold=fold, cut_norms=cut_norms)
    more = _opened(coupling) if cut_norms else None
    reasons = Reasons(coupling)
    everything = layers(coupling, reasons)
    if name is None:
        held = tuple(locks(coupling, reasons))
        return Explanation(str(source), "", coupling, (), (), tuple(coupling.groups), tuple(everything), held, more)
    reader = Reader(coupling, reasons)
    names = reader.names(name)
    axes = tuple(reader.axes(names))
    nodes = set(reader.nodes(names))
    return Explanation(
        source=str(source),
        name=name,
        coupling=coupling,
        names=tuple(names),
        axes=axes,
        groups=tuple(reader.groups(names, axes)),
        layers=tuple(each for each in everything if each.operator in nodes),
        locks=tuple(dict.fromkeys(lock for each in axes for lock in each.locks)),
        more=more,
    )


def group_document(group: Group) -> dict[str, Any]:
    """A group as JSON."""
    return {
        "name": group.name,
        "channels": len(group),
        "members": [_member(member) for member in group.members],
        "values": [{"name": name, "axis": axis} for name, axis in group.values],
        "positions": [inner.name for inner in group.positions],
    }


def _opened(coupling: Coupling) -> Opened:
    """What the option opened, by comparison with the same graph without it."""
    closed = prepared(coupling.graph, fold=False)
    before = Counter((group.name, len(group)) for group in closed.groups)
    groups = tuple(group for group in coupling.groups if (group.name, len(group)) not in before)
    return Opened(groups, tuple(operator.label for operator in coupling.traced.opened))


# JSON


def _member(member: Member) -> dict[str, Any]:
    where = layout(member.channel)
    return {
        "node": member.operator.label,
        "operator": member.operator.type,
        "tensor": member.use.name,
        "axis": member.axis,
        "role": member.role,
        "positions": {"text": str(where), **asdict(where)},
    }


def _axis(given: AxisFacts) -> dict[str, Any]:
    return {
        "tensor": given.tensor,
        "axis": given.axis,
        "length": given.length,
        "role": given.role,
        "groups": [group.name for group in given.groups],
        "locks": [{**refusal(lock), "channels": count} for lock, count in given.locks.items()],
        "partly": [{**refusal(lock), "channels": count} for lock, count in given.partly.items()],
    }


def _layer(given: Layer) -> dict[str, Any]:
    sides = {"outputs": given.outputs, "inputs": given.inputs}
    return {
        "node": given.operator.label,
        "operator": given.operator.type,
        **{
            name: {
                "channels": side.length,
                "free": side.free,
                "groups": [group.name for group in side.groups],
                "locks": [refusal(reason) for reason in side.reasons],
            }
            for name, side in sides.items()
        },
    }


# Lines


def _group_table(groups: Iterable[Group]) -> Table:
    shown = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("group", overflow="fold")
    shown.add_column("channels", justify="right", no_wrap=True)
    shown.add_column("layers", justify="right", no_wrap=True)
    shown.add_column("", style="dim", overflow="fold")
    for group in groups:
        inner = ", ".join(f"{len(p)} positions of {p.name}" for p in group.positions)
        shown.add_row(group.name, str(len(group)), str(len(group.operators)), f"blocks of the {inner}" if inner else "")
    return shown


def _layer_lines(given: Layer) -> Text:
    line = Text(given.operator.label, style="bold", overflow="fold").append(f"  {given.operator.type}", style="dim")
    for verb, side in (("makes", given.outputs), ("sums over", given.inputs)):
        line.append(f"\n  {verb} {numbers.plural(side.length, 'channel')}, {_freedom(side)}", style="not bold")
    return line


def _freedom(side: Side) -> str:
    if side.groups:
        share = "all" if side.free == side.length else str(side.free)
        return f"{share} of which can go"
    return f"which stay: {', '.join(dict.fromkeys(reason.code for reason in side.reasons))}"


def _place(member: Member) -> str:
    """Where a group lies on a constant's axis; nothing is said of positions if it is all of them, in order."""
    where = layout(member.channel)
    shown = f"{member.use.name}[{member.axis}] {member.role}".strip()
    return shown if str(where) == f"all {where.length}" else f"{shown} ({where})"


def _axis_lines(axes: Iterable[AxisFacts]) -> Iterator[Text]:
    """One paragraph for all axes of a tensor of which the same is to be said."""
    for _, alike in groupby(axes, lambda each: each.what):
        same = list(alike)
        first = same[0]
        line = Text(first.tensor, overflow="fold")
        where = ", ".join(f"{each.axis}" for each in same)
        line.append(f"  ax{'is' if len(same) == 1 else 'es'} {where}", style="dim")
        line.append(f", {first.role}" if first.role else "", style="dim")
        if first.groups:
            names = " × ".join(group.name for group in first.groups)
            line.append(f"\n  in group{'s' * (len(first.groups) > 1)} {names}", style="green")
        for verb, reasons in (("stays", first.locks), ("goes only whole", first.partly)):
            for lock, count in reasons.items():
                some = "" if count == first.length or verb != "stays" else f" ({count} of {first.length})"
                line.append(f"\n  {verb}{some}: {lock.node}: {lock.reason}.", style="yellow")
                line.append(f" {lock.remedy}." if lock.remedy else "", style="italic")
                line.append(f" [{lock.code}]", style="dim")
        yield line
