"""`pruneir train`: train a network's own graph, and write it with the plan of what was cut of it before.

Its options are the fields of `Training`, with the words of that page.
"""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

from pruneir.cli import options
from pruneir.cli.options import Format
from pruneir.errors import PruneirError
from pruneir.training.options import Training

if TYPE_CHECKING:
    from pruneir.training.trained import Trained


def train(
    model: options.Model,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The .onnx file to write.")],
    data: options.DataFile = None,
    validation: options.Validation = None,
    labels: options.Labels = None,
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    input_shape: options.InputShape = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The network to learn from: MODEL before it was cut.")
    ] = None,
    checkpoints: options.Checkpoints = None,
    resume: options.Resume = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of samples, and of dropout.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    format: options.AsFormat = Format.table,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **given: Any,
) -> int:
    """Train a network on samples, with labels or by what it was before it was cut; names and order stay."""
    from pruneir import files
    from pruneir.cli.console import progress

    several = {name for name, value in Training().options.items() if isinstance(value, tuple)}
    chosen: dict[str, Any] = {name: tuple(each or ()) if name in several else each for name, each in given.items()}
    training = Training(**chosen)
    files.require_apart(output, source=model)
    plans = [files.plan_of(output)] if files.plan_of(model).exists() else []
    files.require_writable(output, *plans, force=force)
    if data is None:
        raise PruneirError("train needs samples; give --data")
    if resume and checkpoints is None:
        raise PruneirError("--resume goes on with the run in --checkpoints; give that folder too")
    from pruneir.api import train as by_samples

    with progress(quiet) as report:
        made = by_samples(
            model,
            training,
            data=data,
            validation=validation,
            labels=labels,
            scale=scale,
            mean=options.numbers("--mean", mean),
            std=options.numbers("--std", std),
            input_shapes=options.input_shapes(input_shape),
            teacher=teacher,
            checkpoints=checkpoints,
            resume=resume,
            seed=seed,
            progress=report,
        )
        made.save(output, force=force)
    if format is Format.json:
        options.print_json(made.document(str(output)))
    if not quiet:
        _show(made, output, table=format is Format.table)
    return 0 if made.ok else 1


def _show(made: Trained, output: Path, *, table: bool) -> None:
    from pruneir.cli.console import console
    from pruneir.report.training import headline, where
    from pruneir.report.training import table as report

    out = console()
    if table:
        out.print(headline(made))
        out.print(report(made.fitted))
    for warning in made.warnings:
        out.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    if not made.ok and not table:
        out.print(f"training stopped: {made.fitted.ended}", style="bold red", soft_wrap=True)
    if table:
        out.print(where(made, output))


def _with_options(verb: Any) -> None:
    """Give a function's signature the fields of `Training` in the place of `**given`."""
    signature, pages, hints = inspect.signature(verb, eval_str=True), _pages(), get_type_hints(Training)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    fields = []
    for name, value in Training().options.items():
        kind: Any = hints[name]
        default: Any = value
        if get_origin(kind) is tuple:  # repeatable
            kind, default = list.__class_getitem__(get_args(kind)[0]) | None, list(default) or None
        annotation = Annotated.__class_getitem__((kind, typer.Option(help=pages[name])))  # type: ignore[attr-defined]
        fields.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    verb.__signature__ = signature.replace(parameters=[*own, *fields])
    verb.__annotations__ = {p.name: p.annotation for p in (*own, *fields)}


def _pages() -> dict[str, str]:
    """What the page of `Training` says of each option, in one line."""
    page, found, last = inspect.cleandoc(Training.__doc__ or ""), {}, ""
    names = Training().options
    for line in page.splitlines():
        named = re.match(r"(\w+) {2,}(\S.*)", line)
        if named and named[1] in names:
            last = named[1]
            found[last] = named[2]
        elif last and line.startswith("  "):
            found[last] += f" {line.strip()}"
        else:
            last = ""
    return {name: text[:1].upper() + text[1:] + "." for name, text in found.items()}


_with_options(train)
