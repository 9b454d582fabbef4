"""What a pass that prunes and trains in turn did, as a table: a line a phase."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.pipeline.passes import PhaseRow
from pruneir.report.columns import aligned, plain


def phases(rows: Sequence[PhaseRow]) -> Group:
    """One line a phase: t, τ, channels, costs, and the score on its way; then the layers of each.

    Where there are several rounds, or several such passes in one, a phase is called by these too.
    """
    names = _names(rows)
    shown: Table = plain()
    shown.add_column("phase", no_wrap=True)
    for head in ("t", "τ", "channels", "parameters", "MACs", "sparse", "cut", "retrained"):
        shown.add_column(head, justify="right", no_wrap=True)
    channels = aligned([(str(row.channels_before), str(row.channels_after)) for row in rows])
    for name, row, count in zip(names, rows, channels, strict=True):
        points = [f"{each.points:.2f}" for each in (row.induced, row.cut, row.retrained)]
        judged = [f"{row.threshold:.2g}", "" if row.zeros is None else f"{row.zeros:.3f}"]
        shown.add_row(name, *judged, count, numbers.count(row.params), numbers.count(row.macs), *points)
    kinds = ", ".join(dict.fromkeys(row.retrained.kind for row in rows))
    lines = [
        Text.assemble((f"{name}  ", ""), (", ".join(row.layers), "dim"), overflow="fold")
        for name, row in zip(names, rows, strict=True)
    ]
    told = (
        f"{kinds} after sparsity training, after the cut and after retraining, on {rows[0].retrained.samples:,} samples"
    )
    return Group(shown, Text(told, style="dim", overflow="fold"), *lines)


def _names(rows: Sequence[PhaseRow]) -> list[str]:
    """What tells the phases apart: `-1det`, `2 · -1det` in round 2, `pass 3 · -1det` of the third pass of a round."""
    names = [row.name for row in rows]
    if len({row.step for row in rows}) > 1:
        names = [f"pass {row.step} · {name}" for row, name in zip(rows, names, strict=True)]
    if len({row.round for row in rows}) > 1:
        names = [f"{row.round} · {name}" for row, name in zip(rows, names, strict=True)]
    return names
