"""`pruneir verify`: whether two networks compute the same, or how far apart they are."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pruneir.cli import options
from pruneir.cli.options import Format


def verify(
    first: Annotated[Path, typer.Argument(metavar="A.onnx", help="The original network.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B.onnx", help="What became of it.", show_default=False)],
    *,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="B's plan: A is masked as it says first.")] = None,
    data: options.DataFile = None,
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    input_shape: options.InputShape = None,
    drift: Annotated[bool, typer.Option("--drift", help="Report how far apart they are; never exit with 1.")] = False,
    seed: options.Seed = None,
    format: options.AsFormat = Format.table,
) -> int:
    """Compare two networks; exit with 1 if they are not equal."""
    from pruneir.data import Scaling
    from pruneir.report.comparison import comparison

    found = comparison(
        first,
        second,
        plan=plan,
        data=data,
        scaling=Scaling(scale, options.numbers("--mean", mean), options.numbers("--std", std)),
        input_shapes=options.input_shapes(input_shape),
        drift=drift,
        seed=seed or 0,
    )
    if format is Format.json:
        options.print_json(found.document())
    else:
        from pruneir.cli.console import console

        out = console()
        if found.note:
            out.print(found.note, style="yellow", soft_wrap=True)
        out.print(found.table())
    return 0 if found.ok else 1
