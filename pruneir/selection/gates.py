"""The parameters that a gate on a channel would scale."""

from __future__ import annotations

from pruneir.coupling import Coupling, Group, Member
from pruneir.tolerance import is_float


def gates(coupling: Coupling, group: Group) -> list[Member]:
    """The axes that a gate on each of a group's channels scales, of every tensor once.

    They are the scales of the norms that the group runs through; without one, the filters that make it; where these are
    integers, their quantization steps.
    """
    made = [m for m in group.members if m.role != "out" or len(m.use.labels) > 1]
    found = [m for m in made if (array := coupling.graph.constant(m.use.name)) is not None and is_float(array.dtype)]
    chosen = next(filter(None, ([m for m in found if m.role == role] for role in ("scale", "out", "step"))), [])
    return list({(m.use.name, m.axis): m for m in chosen}.values())
