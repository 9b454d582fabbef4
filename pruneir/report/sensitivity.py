"""A sensitivity scan as a table, as JSON, and as a drawing."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pruneir import files
from pruneir.errors import PruneirError
from pruneir.report.columns import cropped, plain
from pruneir.sparsity.sensitivity import Sensitivity


def table(found: Sensitivity, *, width: int = 80) -> Group:
    """One line a layer, one column a value: the score, and below it the share of the layer's weights that is left."""
    shown: Table = plain()
    shown.add_column("layer", no_wrap=True)
    values = [point.value for point in found.curves[0].points]
    for value in values:
        shown.add_column(f"{'q' if found.by == 'quality' else 'zero'} {value:g}", justify="right", no_wrap=True)
    for curve in found.curves:
        name = cropped(curve.layer, max(width - 9 * len(values), 12))
        shown.add_row(name, *(f"{point.points:.2f}" for point in curve.points))
        if found.by == "quality":
            shown.add_row("", *(Text(f"{100 * point.kept:.0f} %", "dim") for point in curve.points))
    said = Text(f"{found.whole} as it is; each layer alone is pruned", style="dim", overflow="fold")
    return Group(*[Padding(part, (0, 0, 1, 1)) for part in (shown, said)])


def document(found: Sensitivity, source: str) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "schema": 1,
        "input": source,
        "by": found.by,
        "score": asdict(found.whole),
        "layers": [asdict(curve) for curve in found.curves],
    }


def require_drawing(path: Path) -> None:
    """PruneirError where `draw` cannot write such a file, or matplotlib is missing."""
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise PruneirError(f"{path}: a drawing is a .png, .svg or .pdf file")
    if find_spec("matplotlib") is None:
        raise PruneirError("drawing needs matplotlib: pip install 'pruneir[report]'")


def draw(found: Sensitivity, path: Path) -> None:
    """A drawing, score against the share of weights that is left; PNG, SVG or PDF by the file's ending."""
    require_drawing(path)
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for curve in found.curves:
        points = sorted(curve.points, key=lambda point: point.kept)
        axes.plot([100 * p.kept for p in points], [p.points for p in points], marker="o", label=curve.layer)
    axes.axhline(found.whole.points, color="grey", linewidth=0.8, linestyle="--")
    axes.set_xlabel("weights of the layer that are left, %")
    axes.set_ylabel(f"{found.whole.kind}, %")
    axes.invert_xaxis()
    axes.legend(fontsize="small")
    with files.drafted(path) as (draft,):
        figure.savefig(draft, format=path.suffix[1:].lower())
