"""Numbers as people read them."""

from __future__ import annotations

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """Three significant digits and a unit: 3.61 M, 75.4 k, 512."""
    for size, unit in _UNITS:
        if abs(value) >= size * 0.9995:
            return f"{_three(value / size)} {unit}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """Bytes, in decimal units: 102 MB."""
    shown = count(value)
    return f"{shown}B" if shown[-1].isalpha() else f"{shown} B"


def kib(value: float) -> str:
    """Bytes of a memory chip, in binary units: 256 KiB."""
    for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value:.0f} B"


def milliseconds(value: float) -> str:
    """Three significant digits: 12.3 ms; in µs where that is little."""
    return f"{_three(value)} ms" if value >= 0.09995 else f"{_three(1e3 * value)} µs"


def ratio(before: float, after: float) -> str:
    """How many times fewer: 3.02×; a dash where that says nothing."""
    return f"{before / after:.2f}×" if before and after else "–"


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent."""
    return f"{100 * share:.{digits}f} %"


def error(value: float) -> str:
    """A relative error: 2.3e-07, and 0 where there is none."""
    return f"{value:.1e}" if value else "0"


def share(value: float) -> str:
    """A relative figure that may be large or tiny: 5.1 %, 4.6e-07."""
    return percent(value) if value >= 5e-4 else error(value)


def plural(number: int, noun: str) -> str:
    """1 channel, 2 channels."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _three(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
