"""Flash of weights, of layers with zeros in them or in inputs: what each format takes, and which one was taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group
from rich.text import Text

from pruneir import numbers
from pruneir.report.columns import cropped, plain
from pruneir.storage import Format, Storage

_KINDS: dict[str, Callable[[Format], bool]] = {
    "dense": lambda found: found.width == 0,
    "CSR": lambda found: found.width == found.block == 1,
    "CSR in Ws": lambda found: found.width > 1 and found.block == 1,
    "BSR": lambda found: found.block > 1,
    "columns": lambda found: found.width > 0 and found.block == 0,
}
"""Columns, and which formats stand in them."""
_REST = 14
"""Characters of a row beside the layer's name, the columns of formats and the name of the one that was taken."""
_NAME, _FORMAT = 10, 9
"""Characters of a name at least, and of a format."""


def storage_table(found: Sequence[Storage], *, verbose: bool = False, width: int = 80) -> Group:
    """One line a layer, and what all of them take; formats that no layer got only where there is room.

    found    at least one
    verbose  also the estimated cost of each format, below its bytes
    width    columns that there are
    """
    kinds = {name: of for name, of in _KINDS.items() if any(of(each) for one in found for each in one.formats)}
    rest = _REST + max(len(str(one.format)) for one in found)
    spare = [name for name, of in kinds.items() if name != "dense" and not any(of(one.format) for one in found)]
    while spare and rest + _NAME + (_FORMAT + 2) * len(kinds) > width:
        del kinds[spare.pop()]
    shown = plain()
    shown.add_column("weights of", no_wrap=True)
    for head in ("not zero", *kinds):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("stored as", no_wrap=True)
    room = max(width - rest - (_FORMAT + 2) * len(kinds), _NAME)
    for one in found:
        cells = [_cell(one, next((each for each in one.formats if of(each)), None), verbose) for of in kinds.values()]
        shown.add_row(cropped(one.layer, room), numbers.percent(one.nonzero / one.weights), *cells, str(one.format))
    dense, taken = sum(one.formats[0].nbytes for one in found), sum(one.format.nbytes for one in found)
    less = f", {numbers.percent(1 - taken / dense)} less" if taken < dense else ""
    told = f"{numbers.kib(taken)} in all; dense {numbers.kib(dense)}{less}"
    below = f"; below: estimated {found[0].unit}" if verbose else ""
    return Group(shown, Text(told + below, style="dim"))


def _cell(one: Storage, found: Format | None, verbose: bool) -> Text:
    """Bytes, and cost below; bold for the format that the layer got."""
    if found is None:
        return Text("–", style="dim")
    cost = f"\n{numbers.count(found.cost)}" if verbose else ""
    return Text(numbers.kib(found.nbytes) + cost, style="bold" if found is one.format else "dim")
