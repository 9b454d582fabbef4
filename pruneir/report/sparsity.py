"""Zero weights in tables: a line for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.pipeline.passes import LayerRow
from pruneir.report.columns import aligned, cropped, plain
from pruneir.sparsity import Size, total


def layers(rows: Iterable[LayerRow], *, width: int = 80) -> Table:
    """One line a weight: how many of its entries were not zero, and are not."""
    rows = list(rows)
    shown = plain()
    shown.add_column("layer", no_wrap=True)
    shown.add_column("weights that are not zero", justify="right", no_wrap=True)
    shown.add_column("kept", justify="right", no_wrap=True)
    noted = any(row.note for row in rows)
    if noted:
        shown.add_column("why not more", style="dim")
    counts = aligned([(numbers.count(row.before), numbers.count(row.after)) for row in rows])
    for row, count in zip(rows, counts, strict=True):
        style = "" if row.after < row.before else "dim"
        kept = numbers.percent(row.after / row.weights, 1)
        note = [row.note] if noted else []
        shown.add_row(cropped(row.layer, max(width - 50, 20)), Text(count), kept, *note, style=style)
    return shown


def of_weights(found: Sequence[Size], names: Mapping[str, str], *, width: int = 80) -> Table:
    """One line a weight of a network: entries that are not zero, and bytes raw, by gzip and packed.

    names  the layer of each weight
    """
    shown = plain()
    shown.add_column("layer", no_wrap=True)
    for head in ("not zero", "kept", "raw", "gzip", "packed"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("as", style="dim")
    for size in (*found, total(found)):
        bytes_of = [numbers.size(each) for each in (size.raw, size.gzip, size.packed)]
        name = cropped(names.get(size.name, size.name), max(width - 60, 16))
        style = "" if size.form else "bold"
        shown.add_row(
            name, numbers.count(size.nonzero), numbers.percent(size.kept, 1), *bytes_of, size.form, style=style
        )
    return shown
