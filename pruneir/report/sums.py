"""The sums of one profile, or of two side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.artifact import Flash, Profile, Ram
from pruneir.deployment.bench import gflops, per_mac
from pruneir.report.columns import plain


def sums(profiles: Sequence[Profile]) -> Table:
    """The whole network; of two, the ratio beside them."""
    shown = plain(header=False)
    for justify in ("left", *(["right", "left"] * (len(profiles) - 1)), "right", "left"):
        shown.add_column(justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for line in _LINES:
        values = [line.of(profile) for profile in profiles]
        if all(value is None for value in values):
            continue
        cells: list[Text] = []
        for value in values:
            cells += [Text("→", style="dim")] * bool(cells)
            cells.append(Text("–" if value is None else line.written(value), style=line.style))
        shown.add_row(Text(line.name(profiles[-1]), style=line.style or "dim"), *cells, _less(values))
    return shown


def per_name(profile: Profile) -> str:
    """What work per multiply-accumulate is called."""
    return "insn/MAC" if profile.unit == "instructions" else "ns/MAC"


def taken(value: float | None, *, exact: bool = False) -> str:
    """Instructions, or ms."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}" if exact else numbers.count(value)
    return f"{value:.3f}"


def _less(values: Sequence[float | None]) -> str:
    was, now = values[0], values[-1]
    if len(values) == 1 or not was or not now or was == now:
        return ""
    return f"{numbers.ratio(was, now)} less" if was > now else f"{numbers.ratio(now, was)} more"


@dataclass(frozen=True, slots=True)
class _Line:
    """A sum: what it is called, where it stands, how it is written."""

    name: Callable[[Profile], str]
    of: Callable[[Profile], float | None]
    written: Callable[[float], str]
    style: str = ""


def _flash(read: Callable[[Flash], float | None]) -> Callable[[Profile], float | None]:
    return lambda profile: None if profile.flash is None else read(profile.flash)


def _ram(read: Callable[[Ram], float | None]) -> Callable[[Profile], float | None]:
    return lambda profile: None if profile.ram is None else read(profile.ram)


def _per_mac(profile: Profile) -> float | None:
    return per_mac(profile) if profile.peak_gflops is None else None


def _speed(profile: Profile) -> float | None:
    return gflops(profile) if profile.peak_gflops is not None else None


def _share_of_peak(profile: Profile) -> float | None:
    speed = _speed(profile)
    return None if speed is None or not profile.peak_gflops else speed / profile.peak_gflops


def _named(name: str) -> Callable[[Profile], str]:
    return lambda profile: name


_LINES = (
    _Line(lambda profile: profile.unit, lambda p: p.taken, lambda value: taken(value, exact=True), "bold"),
    _Line(_named("  least"), lambda p: p.least_ms, lambda value: taken(value, exact=True)),
    _Line(_named("MACs"), lambda p: p.macs, lambda value: f"{value:,.0f}"),
    _Line(per_name, _per_mac, lambda value: f"{value:#.3g}", "bold"),
    _Line(_named("GFLOP/s"), _speed, lambda value: f"{value:.1f}", "bold"),
    _Line(_named("  of the peak"), _share_of_peak, numbers.percent),
    _Line(_named("flash"), _flash(lambda flash: flash.total), numbers.kib, "bold"),
    _Line(_named("  text"), _flash(lambda flash: flash.text), numbers.kib),
    _Line(_named("  rodata"), _flash(lambda flash: flash.rodata), numbers.kib),
    _Line(_named("  data"), _flash(lambda flash: flash.data or None), numbers.kib),
    _Line(_named("RAM"), _ram(lambda ram: ram.total), numbers.kib, "bold"),
    _Line(_named("  arena"), _ram(lambda ram: ram.arena), numbers.kib),
    _Line(_named("  arena's lower bound"), lambda p: p.arena_lower_bound, numbers.kib),
    _Line(_named("  inputs, outputs"), _ram(lambda ram: ram.io or None), numbers.kib),
    _Line(_named("  stack, high water"), _ram(lambda ram: ram.stack), numbers.kib),
    _Line(_named("  static"), _ram(lambda ram: ram.static or None), numbers.kib),
)
