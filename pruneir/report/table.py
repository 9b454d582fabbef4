"""A run as a table: every group, then what was left alone, then the sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.coupling import couple
from pruneir.deployment.prediction import Prediction, predicted
from pruneir.errors import Refusal
from pruneir.pipeline.outcome import Outcome, Record
from pruneir.pipeline.passes import GroupRow
from pruneir.report.accuracy import Accuracy
from pruneir.report.columns import aligned, cropped, plain
from pruneir.report.counted import counted_at, is_open, sentence
from pruneir.report.phases import phases
from pruneir.report.sparsity import layers
from pruneir.report.stored import macs_left, stored

if TYPE_CHECKING:
    from pruneir.verify import Verification

_SHOWN = 6
"""Reasons in the table; `explain` prints all."""
_NAMED = 4
"""Nodes that a reason names."""


def table(outcome: Outcome, accuracy: Accuracy | None = None, *, verbose: bool = False, width: int = 80) -> Group:
    """The whole table.

    verbose  also name the members of groups, and every reason
    width    columns that there are
    """
    parts: list[RenderableType] = []
    if outcome.rows:
        parts.append(groups(outcome.rows, width=width))
        parts += [members(outcome.rows)] if verbose else []
    if outcome.phases:
        parts.append(phases(outcome.phases))
    if outcome.layers:
        parts.append(layers(outcome.layers, width=width))
    if outcome.refusals:
        parts.append(refusals(outcome.refusals, None if verbose else _SHOWN))
    prediction = predicted(outcome)
    sums: list[RenderableType] = [_sums(outcome, accuracy, prediction)]
    if prediction is not None and prediction.why:
        sums.append(Text(f"no time predicted: {prediction.why}", style="dim", overflow="fold"))
    if is_open(outcome.graph):
        sums.append(Text(sentence(counted_at(outcome.graph)), style="dim", overflow="fold"))
    parts.append(Group(*sums))
    if outcome.rounds:
        parts.append(rounds(outcome))
    parts.append(_verdicts(outcome))
    return Group(*[Padding(part, (0, 0, 1, 1)) for part in parts])


def groups(rows: Iterable[GroupRow], *, width: int = 80) -> Table:
    """One line a group: channels and MACs before and after, and why nothing or not more went."""
    rows = list(rows)
    shown = plain()
    shown.add_column("group", no_wrap=True)
    shown.add_column("layers", justify="right", no_wrap=True)
    shown.add_column("channels", justify="right", no_wrap=True)
    shown.add_column("MACs", justify="right", no_wrap=True)
    noted = any(row.note for row in rows)
    if noted:
        shown.add_column("why not more", style="dim")
    channels = aligned([(str(r.channels_before), str(r.channels_after)) for r in rows])
    macs = aligned([(numbers.count(r.macs_before), numbers.count(r.macs_after)) for r in rows])
    room = width - (38 if not noted else 62)
    for row, wide, work in zip(rows, channels, macs, strict=True):
        style = "" if row.channels_after < row.channels_before else "dim"
        name, channels_shown = cropped(row.name, max(room, 20)), Text(wide, style="" if style else "bold")
        note = [row.note] if noted else []
        shown.add_row(name, str(len(row.members)), channels_shown, work, *note, style=style)
    return shown


def rounds(outcome: Outcome) -> Table:
    """One line a round: its costs, its score, and whether the network is of it."""
    base = outcome.base
    shown = plain()
    for head in ("round", "MACs", "parameters", base.kind if base else "score", "points"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("", style="dim")
    if base:
        before = outcome.before
        shown.add_row(
            "", numbers.count(before.macs), numbers.count(before.params), f"{base.points:.2f}", "", "original"
        )
    for each in outcome.rounds:
        points = f"{each.score.points:.2f}" if each.score else ""
        lost = f"{each.score.points - base.points:+.2f}" if each.score and base else ""
        says = "taken" if each.number == outcome.taken else "loses too much" if each.number > outcome.taken else ""
        style = "" if each.number == outcome.taken else "dim"
        shown.add_row(
            str(each.number), numbers.count(each.macs), numbers.count(each.params), points, lost, says, style=style
        )
    return shown


def members(rows: Iterable[GroupRow]) -> Group:
    """The operators of each group, a paragraph each."""
    lines = (Text.assemble((f"{row.name}  ", ""), (", ".join(row.members), "dim"), overflow="fold") for row in rows)
    return Group(*lines)


def refusals(given: Iterable[Refusal], limit: int | None = None) -> Group:
    """What was left alone: a paragraph for each reason, naming all nodes that give it and what they hold."""
    nodes: dict[Refusal, list[Refusal]] = {}
    for refusal in given:
        nodes.setdefault(replace(refusal, node=""), []).append(refusal)
    lines: list[RenderableType] = [Text("left alone", style="dim")]
    for why, alike in list(nodes.items())[:limit]:
        named = list(filter(None, (refusal.node for refusal in alike))) or _holds(alike) or ["the network"]
        text = Text(_listed(named), overflow="fold")
        text.append(f"  {_sentence(why.reason + _held(alike))}", style="dim")
        text.append(f" {_sentence(why.remedy)}" if why.remedy else "", style="italic")
        text.append(f" [{why.code}]", style="dim")
        lines.append(Padding(text, (0, 0, 0, 2)))
    if limit is not None and len(nodes) > limit:
        lines.append(Text(f"  and {len(nodes) - limit} more reasons; `pruneir explain` lists them", style="dim"))
    return Group(*lines)


def _held(alike: Sequence[Refusal]) -> str:
    """What reasons of the same wording hold together."""
    holds = _holds(alike)
    counts = {refusal.channels for refusal in alike if refusal.holds}
    if not holds:
        return ""
    count = f"{'up to ' * (len(counts) > 1)}{numbers.plural(max(counts), 'channel')}"
    whose = _listed(holds) if len(holds) <= _NAMED else f"{len(holds)} operators"
    if not any(refusal.node for refusal in alike):
        whose = "it" if len(holds) == 1 else "each"
    return f", so {count} of {whose} stay{'s' * (counts == {1})}"


def _holds(alike: Sequence[Refusal]) -> list[str]:
    return list(dict.fromkeys(name for refusal in alike for name in refusal.holds))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _sums(outcome: Outcome, accuracy: Accuracy | None, prediction: Prediction | None) -> Table:
    """The whole network before and after."""
    before, after = outcome.before, outcome.after
    costs: list[tuple[str, int, int, Callable[[int], str], str]] = [
        ("MACs", before.macs, after.macs, numbers.count, "fewer"),
        ("parameters", before.params, after.params, numbers.count, "fewer"),
        ("weights", before.bytes, after.bytes, numbers.size, "smaller"),
        ("activation peak", before.activation_peak, after.activation_peak, numbers.size, "smaller"),
    ]
    if outcome.layers:
        costs += _without_zeros(outcome)
    shown = plain(header=False)
    for justify in ("left", "right", "left", "right", "left"):
        shown.add_column(justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name, was, now, written, less in costs:
        times = f"{numbers.ratio(was, now)} {less}" if was > now else ""
        shown.add_row(Text(name, style="dim"), written(was), Text("→", style="dim"), Text(written(now), "bold"), times)
    if prediction is not None and prediction.ms is not None:
        first, last = prediction.ms
        times = f"{numbers.ratio(first, last)}  " if first > last else ""
        shown.add_row(
            Text("predicted time", style="dim"),
            numbers.milliseconds(first),
            Text("→", style="dim"),
            Text(numbers.milliseconds(last), "bold"),
            Text.assemble(times, (f"({prediction.on})", "dim")),
        )
    if accuracy:
        shown.add_row(
            Text(accuracy.kind, style="dim"),
            numbers.percent(accuracy.before, 2),
            Text("→", style="dim"),
            Text(numbers.percent(accuracy.after, 2), style="bold"),
            str(accuracy),
        )
    return shown


def _without_zeros(outcome: Outcome) -> list[tuple[str, int, int, Callable[[int], str], str]]:
    """What zero weights save where they are left out."""
    first, last = stored(outcome.original), stored(outcome.graph)
    return [
        ("MACs without zeros", outcome.before.macs, macs_left(couple(outcome.graph)), numbers.count, "fewer"),
        ("weights by gzip", first.gzip, last.gzip, numbers.size, "smaller"),
        ("weights packed", first.packed, last.packed, numbers.size, "smaller"),
    ]


def _verdicts(outcome: Outcome) -> Group:
    """One line a pass: what it is, whether it kept its word; where there are rounds, by round; then the drift."""
    rounds = outcome.by_round if outcome.taken > 1 else ()
    before = outcome.records[: len(outcome.records) - sum(map(len, rounds))]
    lines: list[RenderableType] = [_verdict(record) for record in before]
    for number, records in enumerate(rounds, 1):
        lines.append(Text(f"round {number}", style="dim"))
        lines += [Padding(_verdict(record), (0, 0, 0, 2)) for record in records]
    if outcome.drift is not None:
        worst, mean = numbers.share(outcome.drift.worst), numbers.share(outcome.drift.mean)
        figures = f"{worst} of the largest output at most, {mean} on average, on {outcome.measured_on}"
        lines.append(Text.assemble(("drift  ", "bold"), figures))
    else:
        lines.append(Text("not verified", style="dim"))
    return Group(*lines)


def _verdict(record: Record) -> Text:
    what, check = record.step.what, record.check
    line = Text(str(what), style="bold")
    if check is not None and check.ok and "nothing to fold" in record.result.notes:
        check = None
    if check is not None:
        claims = {"equal": "its input", "masked": "the masked network", "held": "the network with constants held"}
        verb = ("equals", "") if check.ok else ("DIFFERS from", "bold red")
        line.append("  ")
        line.append(f"{verb[0]} {claims.get(check.kind, 'its reference')}", style=verb[1] or "green")
        line.append(f" ({_figure(check)})", style="dim")
    for index, note in enumerate(record.result.notes):
        line.append(f"\n  {note}" if index or check is not None else f"  {note}", style="dim")
    return line


def _figure(check: Verification) -> str:
    """The relative figure; where only the absolute part of the tolerance allows it, or rounding, that is said."""
    shown = numbers.error(check.worst)
    worst = max(check.outputs, key=lambda drift: drift.largest, default=None)
    if not check.ok or check.worst <= check.tolerance or worst is None:
        return shown
    if worst.rounding:
        return f"{shown}; this network magnifies rounding: {numbers.error(worst.magnified)} by its weights' last bits"
    return f"{shown}; {numbers.error(worst.difference)} absolute, within tolerance"


def _sentence(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."
