"""`pruneir optimize`: run passes over a network and write the result with its plan."""

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
    from pruneir.api import Optimized
    from pruneir.pipeline.recipe import Recipe

Globs = list[str] | None


def optimize(
    model: options.Model,
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Default: MODEL.pruned.onnx beside MODEL.")
    ] = None,
    passes: Annotated[
        list[str] | None,
        typer.Option("--pass", metavar="PASS", help="Such as 'slim{ratio=0.5}'; repeatable. See `pruneir passes`."),
    ] = None,
    data: options.DataFile = None,
    validation: options.Validation = None,
    labels: options.Labels = None,
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    anchors: options.Anchors = None,
    target: Annotated[str | None, typer.Option(help="Machine that channel counts should suit.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML recipe; options given beside it win.")
    ] = None,
    write_recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what was done, to replay.")] = None,
    input_shape: options.InputShape = None,
    keep: Annotated[Globs, typer.Option(metavar="GLOB", help="Freeze the output channels of what matches.")] = None,
    keep_inputs: Annotated[
        Globs, typer.Option(metavar="GLOB", help="Freeze the input channels of what matches.")
    ] = None,
    only: Annotated[Globs, typer.Option(metavar="GLOB", help="Cut nothing but what matches.")] = None,
    ratio: Annotated[
        Globs, typer.Option(metavar="GLOB=SHARE", help="Share to cut from what matches, instead of a pass's own.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Run the passes so often, one round after the other.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, metavar="POINTS", help="Stop before a round that costs more; exit 1 if all do."),
    ] = None,
    checkpoints: options.Checkpoints = None,
    resume: options.Resume = False,
    no_fold: options.NoFold = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Check nothing.")] = False,
    seed: options.Seed = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table, write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    format: options.AsFormat = Format.table,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Run passes over a network and write it, smaller, with its plan."""
    from pruneir import files
    from pruneir.cli.console import progress

    wanted = output or files.beside(model)
    recipes = [write_recipe] if write_recipe else []
    files.require_apart(wanted, source=model, recipe=write_recipe)
    if dry_run:  # what is there stays, but what was named must be a place to write
        files.require_writable(*([output] if output else []), *recipes, force=True)
    else:
        files.require_writable(wanted, files.plan_of(wanted), *recipes, force=force)
    from pruneir.api import optimize_by, require_data

    if resume and checkpoints is None:
        raise PruneirError("--resume goes on with the run in --checkpoints; give that folder too")
    means, deviations = options.numbers("--mean", mean), options.numbers("--std", std)
    require_data(data, labels=labels, scale=scale, mean=means, std=deviations)
    settings = _settings(
        recipe,
        passes=passes,
        target=target,
        keep=keep,
        keep_inputs=keep_inputs,
        only=only,
        ratios=options.pairs("--ratio", ratio),
        input_shapes=options.input_shapes(input_shape),
        scale=scale,
        mean=means,
        std=deviations,
        fold=False if no_fold else None,
        seed=seed,
        rounds=rounds,
        max_drop=max_drop,
        anchors=None if anchors is None else str(anchors),
    )
    with progress(quiet) as report:
        made = optimize_by(
            settings,
            model,
            data=data,
            labels=labels,
            validation=validation,
            verify=not no_verify,
            checkpoints=checkpoints,
            resume=resume,
            progress=report,
        )
        if not dry_run:
            made.save(wanted, force=force, recipe=write_recipe)
    written = None if dry_run else wanted
    if format is Format.json:
        options.print_json(made.document(str(written) if written else None))
    if not quiet:
        _show(made, written, table=format is Format.table, verbose=verbose)
    return 0 if made.ok else 1


def _settings(recipe: Path | None, *, passes: Globs, **flags: object) -> Recipe:
    """The recipe, with what the flags say in place of what it says."""
    from pruneir.pipeline.recipe import Recipe, Step
    from pruneir.pipeline.recipe_file import read_recipe
    from pruneir.pipeline.registry import parse_pass

    base = read_recipe(recipe) if recipe else Recipe()
    scaling = {name: flags.pop(name) for name in ("scale", "mean", "std")}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in flags.items() if v not in (None, (), {}, [])}
    given_scaling = {name: value for name, value in scaling.items() if value not in (None, ())}
    if passes:
        given["steps"] = tuple(Step(parse_pass(text)) for text in passes)
    return replace(base, scaling=replace(base.scaling, **given_scaling), **given)  # type: ignore[arg-type]


def _show(made: Optimized, written: Path | None, *, table: bool, verbose: bool) -> None:
    from pruneir.cli.console import console
    from pruneir.report.summary import headline, where
    from pruneir.report.table import table as report

    out = console()
    if table:
        out.print(headline(made.source or "", made.outcome))
        out.print(report(made.outcome, made.accuracy, verbose=verbose, width=out.width))
    for warning in made.outcome.warnings:
        out.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    if made.outcome.missed:
        out.print(f"missed: {made.outcome.missed}", style="bold red", soft_wrap=True)
    elif not made.ok:
        out.print("verification failed: see the lines that say DIFFERS above", style="bold red", soft_wrap=True)
    if table:
        out.print(where(written, made.source))
