"""Multiply-accumulates that are left where zero weights are skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pruneir.graph import Operator
from pruneir.sparsity.weights import Weight


def macs_kept(macs: Mapping[Operator, int], given: Iterable[Weight]) -> dict[Operator, int]:
    """Of each operator's multiply-accumulates, those whose weight is not zero; all where it has no weight.

    macs  by operator, as `pruneir.cost.macs_by_operator` counts them; every entry of a weight is used equally often
    """
    kept = dict(macs)
    for weight in given:
        for operator, _ in weight.uses:
            if operator in kept:
                kept[operator] = macs[operator] * weight.nonzero // max(weight.array.size, 1)
    return kept
