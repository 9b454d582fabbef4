"""`pruneir run`: samples through an artifact."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pruneir.cli import options
from pruneir.cli.options import Format
from pruneir.errors import PruneirError


def run(
    artifact: Annotated[Path, typer.Argument(metavar="DIR", help="What `compile` wrote.", show_default=False)],
    *,
    inputs: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="As --data elsewhere: an .npz, .npy, …", show_default=False),
    ] = None,
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only so many runs.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="An .npz file for the outputs.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    format: options.AsFormat = Format.table,
    quiet: options.Quiet = False,
) -> int:
    """Run samples through a compiled network."""
    from pruneir import files
    from pruneir.backend import load_artifact
    from pruneir.cli.console import console, progress
    from pruneir.data import Scaling
    from pruneir.deployment.inputs import Inputs, interface
    from pruneir.deployment.running import outputs_of, save
    from pruneir.report.outputs import document, table

    if inputs is None:
        raise PruneirError("run needs something to run on; give --inputs, such as --inputs x.npz")
    if output is not None:
        files.require_writable(output, force=force)
    scaling = Scaling(scale, options.numbers("--mean", mean), options.numbers("--std", std))
    compiled, fed = load_artifact(artifact), Inputs(inputs, scaling, limit)
    with progress(quiet) as report:
        found = outputs_of(compiled, fed, progress=report)
    if output is not None:
        save(found, output)
    if format is Format.json:
        options.print_json(document(found, artifact, output))
    elif not quiet:
        out = console()
        out.print(table(found, output))
        for warning in fed.warnings(interface(compiled.manifest)):
            out.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    return 0
