"""What came out of a run, for a look: shapes, ranges, the first numbers."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

Outputs = dict[str, np.ndarray[Any, Any]]

SCHEMA = 1
_SHOWN = 5
"""Numbers of the first sample in the table."""


def table(outputs: Outputs, written: Path | None) -> Group:
    """One line an output."""
    shown = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("output", overflow="fold")
    for head in ("shape", "min", "max", "mean"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("begins with", style="dim", overflow="fold")
    for name, array in outputs.items():
        figures = (_written(value) for value in _statistics(array).values())
        start = " ".join(_written(float(value)) for value in array.flat[:_SHOWN])
        shown.add_row(name, f"[{','.join(map(str, array.shape))}]", *figures, start + " …" * (array.size > _SHOWN))
    where = Text.assemble(("wrote ", "dim"), (str(written), "bold")) if written else Text("-o FILE keeps them", "dim")
    return Group(shown, where)


def document(outputs: Outputs, artifact: Path, written: Path | None) -> dict[str, Any]:
    """The same as JSON, schema 1; null for what is no finite number."""
    return {
        "schema": SCHEMA,
        "artifact": str(artifact),
        "output": str(written) if written else None,
        "outputs": {
            name: {
                "dtype": str(array.dtype),
                "shape": list(array.shape),
                **{key: value if isfinite(value) else None for key, value in _statistics(array).items()},
            }
            for name, array in outputs.items()
        },
    }


def _statistics(array: np.ndarray[Any, Any]) -> dict[str, float]:
    if not array.size:
        return dict.fromkeys(("min", "max", "mean"), float("nan"))
    values = array.astype(np.float64)
    return {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}


def _written(value: float) -> str:
    return f"{value:.4g}"
