"""Which groups a pass may cut: free ones, as the user's globs restrict them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from pruneir.coupling import Coupling, Group
from pruneir.graph import Operator
from pruneir.pipeline.passes import Context


def candidates(coupling: Coupling, context: Context) -> tuple[list[Group], dict[str, str]]:
    """The groups that may be cut, and for every other group why not.

    Of blocks × positions the positions are cut, unless nothing of them may be: half of either is half of the axis.
    """
    why: dict[str, str] = {}
    for group in coupling.groups:
        reason = _barred(group, context)
        if reason:
            why[group.name] = reason
    for group in coupling.groups:
        open_positions = [p for p in group.positions if p.name not in why and len(p) > 1]
        if group.name not in why and open_positions:
            why[group.name] = f"its blocks stay, since each loses positions ({open_positions[0].name})"
    return [group for group in coupling.groups if group.name not in why], why


def matches(group: Group, globs: Iterable[str], roles: Sequence[str] = ("out",)) -> bool:
    """Whether a glob names the group, or an operator or tensor that it runs through in one of these roles."""
    names = {group.name} if "out" in roles else set()
    for member in group.members:
        if member.role in roles:
            names |= _names(member.operator) | {member.use.name}
    return any(fnmatchcase(name, glob) for glob in globs for name in names)


def _barred(group: Group, context: Context) -> str:
    if len(group) < 2:
        return "it has a single channel"
    if matches(group, context.keep, ("out", "scale", "shift")):
        return "kept by --keep"
    if matches(group, context.keep_inputs, ("in",)):
        return "kept by --keep-inputs"
    if context.only and not matches(group, context.only):
        return "left out by --only"
    return ""


def _names(operator: Operator) -> set[str]:
    return {operator.label, *filter(None, operator.outputs)}
