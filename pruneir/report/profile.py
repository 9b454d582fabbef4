"""What a network takes on a machine, as tables: layer by layer, the sums, weights; one network, or two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.artifact import DEFAULT, LayerProfile, Profile
from pruneir.deployment.bench import Bench, Measured, gflops, per_mac
from pruneir.deployment.parity import TOLERANCE
from pruneir.deployment.race import Contest, Times
from pruneir.report.columns import aligned, cropped, plain
from pruneir.report.storage import storage_table
from pruneir.report.sums import per_name, sums, taken

_WHOLE = 40
"""Characters of names that go before a column with kernels."""
_NAME = 16
"""Characters that a layer's name gets at least."""


def table(found: Bench, *, verbose: bool = False, width: int = 80) -> Group:
    """The whole table.

    verbose  also name the kernels, and say what weights take in each format though all are stored with their zeros
    width    columns that there are
    """
    first, last = found.measured[0], found.last
    parts: list[RenderableType] = []
    if len(found.measured) == 1:
        if last.profile.layers:
            parts.append(layers(last.profile, verbose=verbose, width=width))
        parts.append(sums([last.profile]))
    else:
        parts += [side_by_side(first.profile, last.profile, width=width), sums([first.profile, last.profile])]
    if last.weights and (verbose or any(each.taken for each in last.weights)):
        parts.append(storage_table(last.weights, verbose=verbose, width=width))
    parts.append(_verdicts(found))
    return Group(*[Padding(part, (0, 0, 1, 1)) for part in parts])


def headline(found: Bench) -> Text:
    """The networks, and the machine."""
    names = " → ".join(_name(each) for each in found.measured)
    machine = f", {found.last.profile.machine}" if found.last.profile.machine else ""
    return Text.assemble("\n", (names, "bold"), (f"  {found.last.target}{machine}\n", "dim"))


def layers(profile: Profile, *, verbose: bool = False, width: int = 80) -> Table:
    """One line a step; kernels beside them if there is room, or below them if they are asked for."""
    heads = ["kernel", "schedule", "MACs", profile.unit, *_speed_names(profile), "share"]
    rows = [
        [
            layer.kernel,
            layer.schedule,
            _macs(layer),
            taken(layer.taken),
            *_speeds(layer, profile),
            _share(layer, profile),
        ]
        for layer in profile.layers
    ]
    figures = len(heads) - 2
    names = [layer.name for layer in profile.layers]
    if _room(heads, rows, width) < min(max(map(len, names), default=0), _WHOLE):
        heads, rows, kernels = heads[1:], [row[1:] for row in rows], [row[0] for row in rows]
        names = [f"{name}\n{kernel}" for name, kernel in zip(names, kernels, strict=True)] if verbose else names
    slow = [layer.schedule == DEFAULT for layer in profile.layers]
    return _named_rows(names, heads, rows, slow, left=len(heads) - figures, width=width)


def side_by_side(before: Profile, after: Profile, *, width: int = 80) -> Table:
    """One line a layer of either, by name: what it took before and after."""
    pairs = _paired(before.layers, after.layers)
    columns = [
        aligned([(_macs(was), _macs(now)) for was, now in pairs]),
        aligned([(_taken_by(was), _taken_by(now)) for was, now in pairs]),
        *([*column] for column in zip(*(_speeds(now, after) for _, now in pairs), strict=True)),
        [_less(was, now) for was, now in pairs],
    ]
    heads = ["MACs", before.unit, *_speed_names(after), "less"]
    shown = [layer for was, now in pairs if (layer := now or was)]
    slow = [now is not None and now.schedule == DEFAULT for _, now in pairs]
    return _named_rows(
        [layer.name for layer in shown], heads, [*map(list, zip(*columns, strict=True))], slow, left=0, width=width
    )


def _named_rows(
    names: Sequence[str],
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    slow: Sequence[bool],
    *,
    left: int,
    width: int,
) -> Table:
    """Rows behind the names of layers, which get the room that is left; default schedules are yellow."""
    shown = plain()
    shown.add_column("layer", no_wrap=True)
    for index, head in enumerate(heads):
        widest = max(len(text) for text in (head, *(row[index] for row in rows)))
        shown.add_column(head, justify="left" if index < left else "right", no_wrap=True, min_width=widest)
    room = max(_room(heads, rows, width), _NAME)
    for name, row, default in zip(names, rows, slow, strict=True):
        cell = "\n  ".join(cropped(line, room - 2 * bool(index)) for index, line in enumerate(name.split("\n")))
        shown.add_row(cell, *row, style="yellow" if default else "")
    return shown


def _room(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """Characters that the columns leave for names."""
    return width - 2 - sum(max(map(len, column)) + 2 for column in zip(heads, *rows, strict=True))


def _verdicts(found: Bench) -> Group:
    """Whether the outputs are right, how the times compare, which layers have no schedule, what the figures are not."""
    lines = [_verdict(each) for each in found.measured]
    lines += [_contest(_name(each), each.contest) for each in found.measured if each.contest is not None]
    if (original := found.against_original) is not None:
        lines.append(_contest(f"{_name(found.last)} against {_name(found.measured[0])} in ONNX Runtime", original))
    if found.last.contest is not None:
        lines.append(Text(f"{found.last.contest.settings}; medians of {_rounds(found.last.contest)}", style="dim"))
    if not all(each.contest.steady for each in found.measured if each.contest is not None):
        lines.append(Text("the times spread widely, something keeps the machine busy; repeat it", style="yellow"))
    slow = [layer for layer in found.last.profile.layers if layer.schedule == DEFAULT]
    if slow:
        share = sum(layer.taken or 0 for layer in slow) / (found.last.profile.taken or 1)
        lines.append(
            Text(
                f"{numbers.plural(len(slow), 'layer')} with {numbers.percent(share)} of the {found.last.profile.unit} "
                f"{'has' if len(slow) == 1 else 'have'} the default schedule",
                style="yellow",
            )
        )
    if found.note:
        lines.append(Text(found.note, style="dim"))
    return Group(*lines)


def _verdict(measured: Measured) -> Text:
    parity = measured.parity
    if parity is None:
        return Text(f"{_name(measured)}: outputs not compared", style="dim")
    line = Text(f"{_name(measured)}  ", style="bold", overflow="fold")
    if not parity.ok:
        line.append(f"DIFFERS from ONNX Runtime by more than {TOLERANCE.relative:g} relative", style="bold red")
    else:
        line.append("equals ONNX Runtime", style="green")
    figures = f"{numbers.error(parity.relative)} relative, {numbers.error(parity.max_abs)} absolute at most"
    line.append(f" ({figures}; {numbers.plural(parity.samples, 'run')} on {parity.source})", style="dim")
    for output in parity.outputs:
        if output.scale == 0:
            line.append(f"\n  output '{output.name}' is zero everywhere, which says nothing; give --data", style="red")
    return line


def _contest(name: str, contest: Contest) -> Text:
    line = Text(f"{name}  ", style="bold", overflow="fold")
    slower = contest.ratio > 1
    word = f"{contest.ratio:.2f}× the time" if slower else f"{1 / contest.ratio:.2f}× as fast"
    line.append(f"{word} (ratio {contest.ratio:.3f})", style="yellow" if slower else "green")
    line.append(f"  {_ms(contest.ours)}, ONNX Runtime {_ms(contest.theirs)}", style="dim")
    return line


def _ms(times: Times) -> str:
    """A median, its quartiles, and the least."""
    low, high = times.quartiles
    return f"{taken(times.median)} ms ({taken(low)}–{taken(high)}, least {taken(times.least)})"


def _rounds(contest: Contest) -> str:
    return f"{numbers.plural(len(contest.ours.ms), 'round')} in turns, quartiles behind"


def _name(measured: Measured) -> str:
    return Path(measured.source).name


def _paired(
    before: Sequence[LayerProfile], after: Sequence[LayerProfile]
) -> list[tuple[LayerProfile | None, LayerProfile | None]]:
    """Layers of one name, in the order of the first network; then those that only the second has."""
    left = list(after)
    found: list[tuple[LayerProfile | None, LayerProfile | None]] = []
    for was in before:
        now = next((layer for layer in left if layer.name == was.name), None)
        if now is not None:
            left.remove(now)
        found.append((was, now))
    return [*found, *((None, now) for now in left)]


def _macs(layer: LayerProfile | None) -> str:
    return numbers.count(layer.macs) if layer and layer.macs else ""


def _taken_by(layer: LayerProfile | None) -> str:
    return taken(layer.taken) if layer else ""


def _ratio(layer: LayerProfile | None) -> str:
    found = per_mac(layer) if layer else None
    return "" if found is None else f"{found:#.3g}"


def _speed_names(profile: Profile) -> list[str]:
    """What work by time is called."""
    return [per_name(profile)] if profile.peak_gflops is None else ["GFLOP/s", "of peak"]


def _speeds(layer: LayerProfile | None, profile: Profile) -> list[str]:
    """Work by time: of a machine whose peak is known, also the share of that."""
    if profile.peak_gflops is None:
        return [_ratio(layer)]
    speed = gflops(layer) if layer else None
    return ["", ""] if speed is None else [f"{speed:.1f}", numbers.percent(speed / profile.peak_gflops, 0)]


def _less(was: LayerProfile | None, now: LayerProfile | None) -> str:
    if was is None or now is None:
        return "new" if was is None else "gone"
    return numbers.ratio(was.taken or 0, now.taken or 0)


def _share(layer: LayerProfile, profile: Profile) -> str:
    return numbers.percent(layer.taken / profile.taken) if layer.taken is not None and profile.taken else ""
