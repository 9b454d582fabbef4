"""`pruneir explain`: which channels belong together, and why others are locked."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

from typing import Annotated

import typer

from pruneir.cli import options
from pruneir.cli.options import Format


def explain(
    model: options.Model,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A node, tensor or group; default: all.", show_default=False)
    ] = None,
    *,
    input_shape: options.InputShape = None,
    no_fold: options.NoFold = False,
    format: options.AsFormat = Format.table,
    verbose: options.Verbose = False,
) -> int:
    """Print which channels belong together, and why others are locked."""
    from pruneir.report.explanation import explanation

    found = explanation(model, name, options.input_shapes(input_shape), fold=not no_fold)
    if format is Format.json:
        options.print_json(found.document())
        return 0
    from pruneir.cli.console import console

    out = console()
    out.print(found.table(verbose=verbose, width=out.width))
    return 0
