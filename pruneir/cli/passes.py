"""`pruneir passes`: which passes there are, and the page of each."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from pruneir.cli import options
from pruneir.cli.options import Format


def passes(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print this pass's page.", show_default=False)
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes.")] = False,
    format: options.AsFormat = Format.table,
) -> int:
    """List the passes, or print the page of one."""
    from pruneir.pipeline import registry

    if schema:
        from pruneir.pipeline.recipe_schema import json_schema

        options.print_json(json_schema())
        return 0
    described = [_described(each) for each in ([name] if name else registry.names())]
    if format is Format.json:
        options.print_json({"schema": 1, "passes": described})
    elif name:
        _print_page(described[0])
    else:
        _print_list(described)
    return 0


def _described(name: str) -> dict[str, Any]:
    from pruneir.pipeline import registry

    kind = registry.get(name)
    return {
        "name": name,
        "lossy": kind.lossy,
        "summary": registry.summary(kind),
        "page": inspect.cleandoc(kind.__doc__ or ""),
        "options": [{"name": o.name, "takes": o.takes, "default": o.default} for o in registry.options(kind)],
    }


def _print_list(described: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True, style="dim")
    table.add_column()
    for each in described:
        table.add_row(
            each["name"], "lossy" if each["lossy"] else "lossless", each["summary"].split(". ")[0].rstrip(".")
        )
    Console(highlight=False, markup=False, emoji=False).print(table)


def _print_page(page: dict[str, Any]) -> None:
    print(f"{page['name']} ({'lossy' if page['lossy'] else 'lossless'})\n\n{page['page']}\n")
    if not page["options"]:
        print("It has no options.")
        return
    print("Options")
    wide = max(len(o["name"]) for o in page["options"])
    for option in page["options"]:
        print(f"  {option['name']:{wide}}  {option['takes']} (default {option['default']})")
