"""`pruneir sensitivity`: what a network loses when each layer alone loses its small weights."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pruneir.cli import options
from pruneir.cli.options import Format
from pruneir.errors import PruneirError


class By(StrEnum):
    """What the values are."""

    quality = "quality"
    sparsity = "sparsity"


def sensitivity(
    model: options.Model,
    *,
    data: options.DataFile = None,
    labels: options.Labels = None,
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    by: Annotated[By, typer.Option(help="What the values are: q of |w| < q·σ, or the share of zeros.")] = By.quality,
    values: Annotated[str | None, typer.Option(metavar="A,B,C", help="Values to try; by default a few.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples to score on, at most, chosen by chance.")] = 2000,
    only: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Scan nothing but what matches.")] = None,
    anchors: options.Anchors = None,
    input_shape: options.InputShape = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the drawing.")] = False,
    format: options.AsFormat = Format.table,
    quiet: options.Quiet = False,
) -> int:
    """Prune each layer alone, by several thresholds, and score the network: where `magnitude` may take how much."""
    from pruneir import api, files
    from pruneir.cli.console import console, progress
    from pruneir.report import sensitivity as report

    if data is None:
        raise PruneirError("sensitivity scores the network on samples; give --data")
    if plot is not None:
        report.require_drawing(plot)
        files.require_writable(plot, force=force)
    with progress(quiet) as told:
        found = api.sensitivity(
            model,
            data=data,
            labels=labels,
            scale=scale,
            mean=options.numbers("--mean", mean),
            std=options.numbers("--std", std),
            by=by.value,
            values=options.numbers("--values", values),
            samples=samples,
            only=tuple(only or ()),
            anchors=anchors,
            input_shapes=options.input_shapes(input_shape),
            progress=told,
        )
    if plot is not None:
        report.draw(found, plot)
    if format is Format.json:
        options.print_json(report.document(found, str(model)))
    elif not quiet:
        out = console()
        out.print(report.table(found, width=out.width))
    return 0
