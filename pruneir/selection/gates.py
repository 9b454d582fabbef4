"""The parameters that a gate on a channel would scale."""

from __future__ import annotations

from pruneir.coupling import Coupling, Group, Member
from pruneir.verify.tolerance import is_float


def gates(coupling: Coupling, group: Group) -> list[Member]:
    """The axes that a gate on each of a group's channels scales, of every tensor once.

    They are the scales of the BatchNorms that the group runs through; without one, the filters that make it.
    """
    found = [m for m in group.members if m.role == "scale" or (m.role == "out" and len(m.use.labels) > 1)]
    found = [m for m in found if (array := coupling.graph.constant(m.use.name)) is not None and is_float(array.dtype)]
    scales = [m for m in found if m.role == "scale"]
    return list({(m.use.name, m.axis): m for m in scales or found}.values())
