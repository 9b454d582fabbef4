"""Reductions: axes that are not reduced pass through; a reduced axis stays whole, unless zeros add nothing to it.

A mean over channels is a statistic like a normalisation's: the option `cut_norms` opens it.
"""

from __future__ import annotations

from pruneir.coupling.rule import Op, rule
from pruneir.coupling.words import CUT_NORMS, statistics

_SUMS = ("ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare")


@rule(*_SUMS, "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp")
def reduce(op: Op) -> None:
    """A sum over channels skips those that are zero; a mean changes its denominator, an extreme may change."""
    x, y = op.x, op.y
    given = op.parameter("axes", 1)
    if not given:
        given = [] if op.attribute("noop_with_empty_axes", 0) else list(range(x.rank))
    axes = {index % x.rank for index in given}
    keepdims = op.attribute("keepdims", 1)
    out = 0
    for axis in x.axes:
        if axis.index not in axes:
            op.keep(y.axis(out), axis)
            y.state.zero[out] = axis.zero and not op.type.startswith("ReduceLog")
            if op.type == "ReduceLogSum" and op.can_die(axis.labels):
                op.lock(axis, reason="is not defined where a removed channel would be zero", code="PIR011")
        elif op.type in _SUMS and axis.zero:
            op.sum_over(axis)
        elif op.type == "ReduceMean" and not op.normalizes(axis.labels):
            axis.tensor.touched.add(axis.index)
        elif op.type == "ReduceMean":
            op.lock(axis, reason=statistics(axis.index), remedy=CUT_NORMS, code="PIR010")
        elif not axis.labels.is_data:
            op.lock(axis, reason=f"reduces axis {axis.index}, and would give something else without it", code="PIR015")
        out += keepdims if axis.index in axes else 1
