"""What the tables have in common: no lines, aligned arrows, names cropped at their beginning."""

from __future__ import annotations

from rich.table import Table


def plain(header: bool = True) -> Table:
    """A table without lines."""
    return Table(box=None, show_header=header, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0), expand=False)


def aligned(pairs: list[tuple[str, str]]) -> list[str]:
    """`before → after`, the arrows below each other; one number where nothing changed."""
    left = max((len(a) for a, _ in pairs), default=0)
    right = max((len(b) for _, b in pairs), default=0)
    return [f"{a:>{left}} → {b:>{right}}" if a != b else f"{a:>{left}}   {'':>{right}}" for a, b in pairs]


def cropped(name: str, room: int) -> str:
    """The end of a long name, which tells more than its beginning."""
    return name if len(name) <= room else f"…{name[1 - room :]}"
