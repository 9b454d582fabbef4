"""A training as a table: one line an epoch, then what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.files import plan_of
from pruneir.training.history import Epoch, Fitted, summary
from pruneir.training.trained import Trained

_SHOWN = 40
"""Epochs in the table; of more, the first and the last."""


def table(fitted: Fitted) -> Group:
    """The whole table."""
    parts: list[RenderableType] = [epochs(fitted)] if fitted.history else []
    parts.append(Group(*(Text(line, overflow="fold") for line in summary(fitted))))
    return Group(*[Padding(part, (0, 0, 1, 1)) for part in parts])


def epochs(fitted: Fitted) -> Table:
    """One line an epoch; the one whose weights are the result is bold."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    columns = _columns(fitted)
    for head in columns:
        shown.add_column(head, justify="right", no_wrap=True)
    history = fitted.history
    half = _SHOWN // 2
    for epoch in history if len(history) <= _SHOWN else history[:half]:
        shown.add_row(*(cell(epoch) for cell in columns.values()), style=_style(epoch, fitted))
    if len(history) > _SHOWN:
        shown.add_row("…")
        for epoch in history[-half:]:
            shown.add_row(*(cell(epoch) for cell in columns.values()), style=_style(epoch, fitted))
    return shown


def _columns(fitted: Fitted) -> dict[str, Callable[[Epoch], str]]:
    """What there is to say of each epoch, by heading."""
    history = fitted.history
    found: dict[str, Callable[[Epoch], str]] = {
        "epoch": lambda epoch: str(epoch.number),
        "loss": lambda epoch: f"{epoch.loss:.4g}",
        "lr": lambda epoch: f"{epoch.rate:.2g}",
    }
    if any(epoch.judged is not None for epoch in history):
        found["val loss"] = lambda epoch: f"{epoch.judged.loss:.4g}" if epoch.judged else ""
        if fitted.before.kind != "loss":
            found[fitted.before.kind] = lambda epoch: f"{epoch.judged.points:.2f}" if epoch.judged else ""
    if any(epoch.sparsity.small_gammas for epoch in history):
        found["γ at 0"] = lambda epoch: numbers.percent(epoch.sparsity.zero_gammas or 0.0)
        found["γ < 1e-2"] = lambda epoch: numbers.percent(epoch.sparsity.small_gammas or 0.0)
    if any(epoch.sparsity.zero_weights for epoch in history):
        found["weights at 0"] = lambda epoch: numbers.percent(epoch.sparsity.zero_weights or 0.0)
    return found | {"seconds": lambda epoch: f"{epoch.seconds:.1f}"}


def _style(epoch: Epoch, fitted: Fitted) -> str:
    return "bold" if epoch.number == fitted.chosen else ""


def headline(made: Trained) -> Text:
    """The network and how it is trained."""
    what = str(made.what).removeprefix("train").strip("{}")
    taught = f"  by {Path(made.teacher).name}" if made.teacher else ""
    return Text.assemble("\n", (Path(made.source or "").name, "bold"), (f"  train {what}{taught}\n", "dim"))


def where(made: Trained, written: Path) -> Text:
    """What was written."""
    line = Text.assemble(("wrote ", "dim"), (str(written), "bold"))
    return line.append(f"\n      {plan_of(written)}", style="dim") if made.plan is not None else line
