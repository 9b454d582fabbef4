"""`pruneir compile`: an artifact of a network for a machine, held to the memory that the machine has."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pruneir.cli import options
from pruneir.cli.options import Format
from pruneir.errors import PruneirError

if TYPE_CHECKING:
    from pruneir.deployment.bench import Bench
    from pruneir.deployment.compiling import Compiled


def compile(
    model: options.Model,
    *,
    target: options.Target = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="A new folder; default: MODEL.TARGET beside MODEL."),
    ] = None,
    flash: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Exit with 1 if it takes more, such as 256K (of 1024 bytes).")
    ] = None,
    ram: Annotated[str | None, typer.Option(metavar="SIZE", help="Likewise, such as 64K.")] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run it, print what that takes; exit with 1 if outputs are wrong.")
    ] = False,
    inputs: Annotated[
        str | None, typer.Option(metavar="DATA", help="What to run it on, as --data elsewhere; default: random.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, metavar="N", help="How many of them.")] = 4,
    seed: options.Seed = None,
    input_shape: options.InputShape = None,
    threads: options.Threads = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="TRIPLE", help="Write an archive for another machine, such as aarch64-linux-gnu."),
    ] = None,
    setting: options.Setting = None,
    no_fold: options.NoFold = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an artifact that is there.")] = False,
    format: options.AsFormat = Format.table,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Compile a network into a folder that holds all that it needs to run."""
    from pruneir import api
    from pruneir.cli.console import progress
    from pruneir.deployment.bench import Bench, measured
    from pruneir.deployment.inputs import Inputs
    from pruneir.pipeline.prepare import opened

    if target is None:
        raise PruneirError("compile needs a machine to compile for; give --target, such as --target cortex-m4")
    if inputs is not None and not run:
        raise PruneirError("--inputs says what to run it on; give --run too, or leave it out")
    given = {"threads": threads, "host": host}
    flags = {name: value for name, value in given.items() if value is not None}
    settings = {**options.settings(setting, **flags), **flags}
    folder = output or model.with_name(f"{model.name.removesuffix('.onnx')}.{target}")
    shapes = options.input_shapes(input_shape)
    with progress(quiet) as report:
        made = api.compile(
            model,
            target,
            folder,
            input_shapes=shapes,
            fold=not no_fold,
            flash=flash,
            ram=ram,
            options=settings,
            force=force,
            warn=lambda text: None if quiet else _warn(text),
            progress=report,
        )
        found = None
        if run:
            graph, fed = opened(model, shapes), Inputs(inputs, None, samples, seed or 0)
            found = Bench((measured(made.artifact, str(model), graph, fed, progress=report),))
            made = replace(made, measured=found.last.sizes)
    if format is Format.json:
        ran = {} if found is None else {"run": found.document()}
        options.print_json({**made.document(str(model)), **ran})
    if not quiet:
        _show(made, found, table=format is Format.table, verbose=verbose)
    return 0 if made.ok and (found is None or found.ok) else 1


def _warn(text: str) -> None:
    from pruneir.cli.console import console

    console().print(f"warning: {text}", style="yellow", soft_wrap=True)


def _show(made: Compiled, found: Bench | None, *, table: bool, verbose: bool) -> None:
    from pruneir.cli.bench import show
    from pruneir.cli.console import console
    from pruneir.report.compiled import report

    if table and found is not None:
        show(found, verbose=verbose)
    out = console()
    for miss in made.missed:
        out.print(f"missed: {miss}", style="bold red", soft_wrap=True)
    if table:
        out.print(report(made, verbose=verbose, width=out.width))
