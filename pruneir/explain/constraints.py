"""What a cut of a group must respect, in sentences."""

from __future__ import annotations

from pruneir.coupling import Group


def constraints(group: Group) -> list[str]:
    """One at least stays; blocks and positions of one axis; weights that several operators read."""
    found = [
        "it has a single channel, which stays" if len(group) == 1 else f"at least 1 of its {len(group)} channels stays"
    ]
    if group.positions:
        inside = " and ".join(f"the {len(positions)} positions of {positions.name}" for positions in group.positions)
        which = (
            "whole blocks go, since they are channels of their own elsewhere"
            if group.goes_whole
            else "positions go by default, whole blocks with pairs=blocks"
        )
        found.append(
            f"its channels are {len(group)} blocks, each of {inside}: half of the blocks is as much as half of the "
            f"positions; {which}"
        )
    for blocks in group.blocks:
        instead = "" if blocks.goes_whole else " with pairs=blocks"
        found.append(
            f"each channel is a position in all {len(blocks)} blocks of {blocks.name} and goes from all of them "
            f"together; whole blocks go instead{instead}"
        )
    readers: dict[str, dict[str, None]] = {}
    for member in group.members:
        if len(member.use.labels) > 1:
            readers.setdefault(member.use.name, {})[member.operator.label] = None
    for name, labels in readers.items():
        if len(labels) > 1:
            found.append(f"{name} is shared by {', '.join(labels)}, which are cut alike")
    return found
