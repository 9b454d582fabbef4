"""Options that several verbs have, with the words that they are documented in."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pruneir.errors import PruneirError


class Format(StrEnum):
    """What a verb prints: a table on stderr, or JSON on stdout."""

    table = "table"
    json = "json"


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx file.", show_default=False)]
AsFormat = Annotated[Format, typer.Option("--format", help="A table on stderr, or JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print every detail, and tracebacks.")]
InputShape = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME:SIZES", help="Shape of an input, x:1,3,224,224 or x:Nx3x224x224; repeatable."),
]
DataFile = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="An .npz or .npy, a folder of images, or a Python module:function."),
]
Validation = Annotated[
    str | None, typer.Option("--val", metavar="DATA", help="Like --data: samples to score on, instead of those.")
]
Labels = Annotated[
    str | None, typer.Option(metavar="NAME", help="The array of an .npz, or of a batch, that holds labels; default y.")
]
Scale = Annotated[float | None, typer.Option(help="Multiply the data by this, before mean and std.")]
Mean = Annotated[str | None, typer.Option(metavar="A,B,C", help="Subtract this from the scaled data, per channel.")]
Std = Annotated[str | None, typer.Option(metavar="A,B,C", help="Divide the data by this at last, per channel.")]
Anchors = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A detector's anchors, .npy, where the graph holds none.")
]
NoFold = Annotated[bool, typer.Option("--no-fold", help="Leave out the lossless clean-up that runs first.")]
Checkpoints = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write down there what is done, so that a stopped run can go on.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --checkpoints.")]
Target = Annotated[str | None, typer.Option(metavar="T", help="The machine; `pruneir targets` lists them.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the target's backend; repeatable."),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads that run it, on x86; default: as many as there are cores."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the random inputs, where there are no data.")]


_LONGEST = 2**31 - 1
"""Entries of an axis of an input."""


def input_shapes(given: list[str] | None) -> dict[str, tuple[int | str, ...]]:
    """Shapes by input, from `x:1,3,224,224` and `x:1x3x224x224`; a word is a symbol."""
    shapes = {}
    for text in given or ():
        name, colon, sizes = text.rpartition(":")
        dims = [dim.strip() for dim in (sizes.split(",") if "," in sizes else sizes.split("x"))]
        if not colon or not name or not all(_is_dim(dim) for dim in dims):
            raise PruneirError(f"--input-shape: '{text}' is not NAME:SIZES, such as x:1,3,224,224 or x:Nx3x224x224")
        if name in shapes:
            raise PruneirError(f"--input-shape: input '{name}' is given twice; give it one shape")
        if any(dim.isdigit() and int(dim) > _LONGEST for dim in dims):
            raise PruneirError(f"--input-shape: '{text}' has an axis longer than {_LONGEST:,}")
        shapes[name] = tuple(int(dim) if dim.isdigit() else dim for dim in dims)
    return shapes


def numbers(flag: str, given: str | None) -> tuple[float, ...]:
    """Numbers with commas between."""
    try:
        return tuple(float(each) for each in given.split(",")) if given else ()
    except ValueError:
        raise PruneirError(f"{flag}: '{given}' is not a number, or several with commas between") from None


def pairs(flag: str, given: list[str] | None) -> dict[str, float]:
    """Shares by glob, from `GLOB=0.3`."""
    found = {}
    for text in given or ():
        glob, _, value = text.rpartition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not glob or not 0 <= share <= 1:
            raise PruneirError(f"{flag}: '{text}' is not GLOB=SHARE with a share from 0 to 1, such as 'stem*=0.3'")
        if glob in found:
            raise PruneirError(f"{flag}: '{glob}' is given twice; give it one share")
        found[glob] = share
    return found


def settings(given: list[str] | None, **flags: object) -> dict[str, object]:
    """Options of a backend by name, from `NAME=VALUE`; what the words mean is for the backend's types to say.

    flags  what flags of their own say of such options, None where they are not given: none may be given twice
    """
    from pruneir.pipeline.fields import Word  # noqa: PLC0415

    found: dict[str, object] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise PruneirError(f"--set: '{text}' is not NAME=VALUE")
        if name in found or flags.get(name) is not None:
            twice = f"--{name} says that too" if name not in found else f"'{name}' is given twice"
            raise PruneirError(f"--set {text}: {twice}; give only one of them")
        found[name] = Word(value)
    return found


def print_json(document: object) -> None:
    """The document, alone on stdout."""
    import json  # noqa: PLC0415

    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _is_dim(dim: str) -> bool:
    return (dim.isdigit() and int(dim) > 0) or dim.isidentifier()
