"""Which groups a pass may cut: free ones, as the user's globs restrict them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pruneir.coupling import Coupling, Group
from pruneir.graph import Operator
from pruneir.names import is_called
from pruneir.pipeline.passes import Context


def candidates(
    coupling: Coupling, context: Context, pairs: Literal["positions", "blocks"] = "positions"
) -> tuple[list[Group], dict[str, str]]:
    """The groups that may be cut, and for every other group why not.

    Of blocks × positions (grouped convolutions, attention heads) one is cut, since half of either is half of the axis:
    `pairs` says which, unless nothing of that one may be. Many blocks of few positions go where an operator makes
    blocks alone, as in front of a depthwise convolution with two filters a channel: its channels would all stay else.
    """
    why: dict[str, str] = {}
    for group in coupling.groups:
        reason = _barred(group, context)
        if reason:
            why[group.name] = reason
    free = {group.name for group in coupling.groups if group.name not in why}
    for blocks in coupling.groups:
        inside = [positions for positions in blocks.positions if positions.name in free]
        if blocks.name in free and blocks.name not in why and inside:
            if pairs == "positions" and not blocks.goes_whole:
                why[blocks.name] = f"its blocks stay, since each loses positions ({inside[0].name})"
            else:
                why |= {p.name: f"its positions stay, since whole blocks go ({blocks.name})" for p in inside}
    return [group for group in coupling.groups if group.name not in why], why


def matches(group: Group, globs: Iterable[str], roles: Sequence[str] = ("out",)) -> bool:
    """Whether a glob names the group, or an operator or tensor that it runs through in one of these roles."""
    names = {group.name} if "out" in roles else set()
    for member in group.members:
        if member.role in roles:
            names |= _names(member.operator) | {member.use.name}
    return is_called(names, globs)


def _barred(group: Group, context: Context) -> str:
    if len(group) < 2:
        return "it has a single channel"
    if matches(group, context.keep, ("out", "scale", "shift", "step")):
        return "kept by --keep"
    if matches(group, context.keep_inputs, ("in",)):
        return "kept by --keep-inputs"
    if context.only and not matches(group, context.only):
        return "left out by --only"
    return ""


def _names(operator: Operator) -> set[str]:
    return {operator.label, *filter(None, operator.outputs)}
