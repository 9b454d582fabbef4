"""`pruneir inspect`: what a network is, what it costs, and what of it can be pruned."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

from pruneir.cli import options
from pruneir.cli.options import Format


def inspect(
    model: options.Model,
    input_shape: options.InputShape = None,
    no_fold: options.NoFold = False,
    format: options.AsFormat = Format.table,
    verbose: options.Verbose = False,
) -> int:
    """Print inputs, outputs, operators, costs, and what can be pruned."""
    from pruneir.report.inspection import inspection

    found = inspection(model, options.input_shapes(input_shape), fold=not no_fold)
    if format is Format.json:
        options.print_json(found.document())
        return 0
    from pruneir.cli.console import console

    out = console()
    out.print(found.table(verbose=verbose, width=out.width))
    return 0
