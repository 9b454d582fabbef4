"""What keeps channels from being cut, each reason once, with what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pruneir.coupling import Coupling, Use
from pruneir.errors import Refusal
from pruneir.explain.reasons import Reasons

INTERFACE = "PIR001"


@dataclass(slots=True)
class _Held:
    """What a reason holds: positions per operator that makes them, and per operator that reads them."""

    makers: dict[str, int] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)

    @property
    def by(self) -> dict[str, int]:
        """The operators that make what is held; if a graph input does, those that read it."""
        return self.makers or self.readers


def locks(coupling: Coupling, reasons: Reasons | None = None) -> list[Refusal]:
    """Everything that holds channels of some weight, and every operator that was not understood.

    What holds most comes first, inputs and outputs of the graph come last. A weight's only channel is not mentioned.
    """
    reasons = reasons or Reasons(coupling)
    found: dict[Refusal, _Held] = {}
    for use in coupling.traced.uses:
        for axis in _channel_axes(use):
            for reason, count in reasons.holding(use.labels[axis]).items():
                held = found.setdefault(reason, _Held())
                side = held.makers if use.roles.get(axis) == "out" else held.readers
                side[use.operator.label] = max(side.get(use.operator.label, 0), count)
    for refusal in coupling.traced.refusals:
        found.setdefault(refusal, _Held())
    filled = [
        replace(reason, channels=max(held.by.values(), default=0), holds=tuple(held.by))
        for reason, held in found.items()
    ]
    return sorted(filled, key=lambda r: (r.code == INTERFACE, not r.holds, -r.channels * len(r.holds)))


def _channel_axes(use: Use) -> list[int]:
    """The axes of a weight that may have channels: those with a role, or all where no rule gave any."""
    if len(use.labels) < 2:
        return []
    axes = use.roles or range(len(use.labels))
    return [axis for axis in axes if len(use.labels[axis]) > 1 and not use.labels[axis].is_data]
