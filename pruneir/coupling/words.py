"""Reasons and remedies that several rules give, in one wording, so that tables can put them together."""

from __future__ import annotations

FOLD = "Run the pass `fold` first, or fix sizes with --input-shape"
CUT_NORMS = "Pass cut_norms=true to take the statistics over the channels that stay"
END_BEFORE = "To prune what feeds it, end the exported graph before it"
PRODUCT = "multiplies two activations, neither of which is zero where a channel was removed"
INTERFACE = "it is a graph {}, and its shape is part of the interface"


def statistics(axis: int) -> str:
    """An axis that statistics are taken over."""
    return f"takes statistics over axis {axis}, which change with every channel that goes"
