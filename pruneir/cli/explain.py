"""`pruneir explain`: which channels belong together, and why others are locked."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pruneir.cli import options
from pruneir.cli.options import Format

if TYPE_CHECKING:
    from pruneir.report.explanation import Explanation


def explain(
    model: options.Model,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A node, tensor or group, or a glob; default: all.", show_default=False),
    ] = None,
    *,
    input_shape: options.InputShape = None,
    no_fold: options.NoFold = False,
    cut_norms: Annotated[
        bool, typer.Option("--cut-norms", help="As with cut_norms=true, and what that opens.")
    ] = False,
    dot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the neighbourhood of NAME for graphviz.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it, with graphviz's program dot.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    format: options.AsFormat = Format.table,
    verbose: options.Verbose = False,
) -> int:
    """Print which channels belong together, and why others are locked."""
    from pruneir import files
    from pruneir.errors import PruneirError

    drawings = [path for path in (dot, svg) if path is not None]
    if drawings and name is None:
        raise PruneirError("--dot and --svg draw the neighbourhood of a NAME; give a node, tensor or group")
    files.require_writable(*drawings, force=force)
    from pruneir.report.explanation import explanation

    found = explanation(model, name, options.input_shapes(input_shape), fold=not no_fold, cut_norms=cut_norms)
    _draw(found, dot, svg)
    if format is Format.json:
        options.print_json(found.document())
        return 0
    from pruneir.cli.console import console

    out = console()
    out.print(found.table(verbose=verbose, width=out.width))
    return 0


def _draw(found: Explanation, dot: Path | None, svg: Path | None) -> None:
    from pruneir import files

    texts = {dot: found.dot()} if dot else {}
    if svg:
        texts[svg] = _rendered(found.dot())
    with files.written(texts):
        pass


def _rendered(dot: str) -> str:
    """What graphviz makes of a drawing."""
    import shutil
    import subprocess

    from pruneir.errors import PruneirError

    program = shutil.which("dot")
    if program is None:
        raise PruneirError("--svg needs graphviz's program dot: apt-get install graphviz; --dot FILE works without it")
    done = subprocess.run([program, "-Tsvg"], input=dot, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PruneirError(f"--svg: dot failed: {' '.join(done.stderr.split())}")
    return done.stdout
