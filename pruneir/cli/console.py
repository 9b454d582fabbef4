"""What goes to stderr: tables, and a progress bar for whatever takes longer than two seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from pruneir.progress import Progress

_PATIENCE = 2.0
"""Seconds without a bar."""


def console() -> Console:
    """stderr; without colour where it is no terminal or NO_COLOR is set."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """A function that moves the bar, which appears when the run turns out to be long."""
    out = console()
    if quiet or not out.is_terminal:
        yield lambda stage, share: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    bar = Progress(
        BarColumn(24), TimeElapsedColumn(), TextColumn("{task.description}", style="dim"), console=out, transient=True
    )
    task = bar.add_task("", total=1.0)
    timer = threading.Timer(_PATIENCE, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda stage, share: bar.update(task, description=stage, completed=share)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
