"""The first and the last line of a run's table."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from pruneir import numbers
from pruneir.files import plan_of
from pruneir.pipeline.outcome import Outcome


def headline(source: str, outcome: Outcome) -> Text:
    """The network and what is done to it."""
    rounds = outcome.by_round
    before = [str(record.step.what) for record in outcome.records[: len(outcome.records) - sum(map(len, rounds))]]
    each = [str(record.step.what) for record in rounds[0]]
    if len(rounds) > 1:
        each = [f"{len(rounds)} rounds of {', '.join(each)}"]
    passes = ", ".join([*before, *each]) or "no pass"
    aim = f" for {outcome.recipe.target}" if outcome.recipe.target != "any" else ""
    return Text.assemble("\n", (Path(source).name, "bold"), ("  ", ""), (f"{passes}{aim}\n", "dim"))


def where(written: Path | None, source: str | None) -> Text:
    """What was written, and how large the files are."""
    if written is None:
        return Text("dry run: nothing was written", style="dim")
    was = f", was {numbers.size(_size(Path(source)))}" if source else ""
    line = Text.assemble(("wrote ", "dim"), (str(written), "bold"), (f"  {numbers.size(_size(written))}{was}\n", "dim"))
    return line.append(f"      {plan_of(written)}", style="dim")


def _size(path: Path) -> int:
    """Bytes of a model, with the data beside it."""
    beside = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
