"""`pruneir bench`: what a network takes on a machine, whether it computes there what it should, and how fast."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pruneir.cli import options
from pruneir.cli.options import Format
from pruneir.errors import PruneirError

if TYPE_CHECKING:
    from pruneir.deployment.bench import Bench


class Against(StrEnum):
    """What computes the outputs that are expected."""

    onnxruntime = "onnxruntime"
    none = "none"


def bench(
    first: Annotated[
        Path, typer.Argument(metavar="MODEL", help="An .onnx file, or an artifact folder.", show_default=False)
    ],
    second: Annotated[
        Path | None, typer.Argument(metavar="[PRUNED]", help="Likewise: what became of it.", show_default=False)
    ] = None,
    *,
    target: options.Target = None,
    against: Annotated[
        Against, typer.Option(help="Whose outputs are expected, and whose time is held beside ours.")
    ] = Against.onnxruntime,
    threads: options.Threads = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="The network that an artifact folder was made of; repeatable, in order."),
    ] = None,
    data: options.DataFile = None,
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    samples: Annotated[int, typer.Option(min=1, metavar="N", help="Runs whose outputs are compared.")] = 4,
    seed: options.Seed = None,
    input_shape: options.InputShape = None,
    setting: options.Setting = None,
    no_fold: options.NoFold = False,
    format: options.AsFormat = Format.table,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Run a network, or two: instructions or time, memory, output error; exit with 1 if that is too large."""
    from pruneir.api import require_data
    from pruneir.cli.console import progress
    from pruneir.data import Scaling
    from pruneir.deployment.bench import bench as measure
    from pruneir.deployment.inputs import Inputs

    means, deviations = options.numbers("--mean", mean), options.numbers("--std", std)
    require_data(data, scale=scale, mean=means, std=deviations)
    if against is Against.none and reference:
        raise PruneirError("--reference names what to compare with, which --against none leaves out; give one of them")
    with progress(quiet) as report:
        found = measure(
            [first] if second is None else [first, second],
            target,
            options=options.settings(setting, threads=threads),
            threads=threads,
            references=reference or (),
            compare=against is Against.onnxruntime,
            inputs=Inputs(data, Scaling(scale, means, deviations), samples, seed or 0),
            input_shapes=options.input_shapes(input_shape),
            fold=not no_fold,
            progress=report,
        )
    if format is Format.json:
        options.print_json(found.document())
    elif not quiet:
        show(found, verbose=verbose)
    return 0 if found.ok else 1


def show(found: Bench, *, verbose: bool = False) -> None:
    """Print the table."""
    from pruneir.cli.console import console
    from pruneir.report.profile import headline, table

    out = console()
    out.print(headline(found))
    out.print(table(found, verbose=verbose, width=out.width))
    for warning in found.warnings:
        out.print(f"warning: {warning}", style="yellow", soft_wrap=True)
