"""The table of what formats of weights take."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from pruneir.report.storage import storage_table
from pruneir.storage import Format, Storage

DENSE, CSR, GROUPS, BLOCKS = (
    Format(0, 0, 40960, 9000),
    Format(1, 1, 8192, 2500),
    Format(8, 1, 4096, 900),
    Format(4, 2, 6144, 1200),
)
FOUND = (
    Storage("fc1", 10240, 1024, "instructions", (DENSE, CSR, GROUPS, BLOCKS), 2),
    Storage("head/of/some/long/name/fc2", 10240, 5120, "instructions", (DENSE, CSR), 0),
)


def shown(found: tuple[Storage, ...], verbose: bool = False, width: int = 80) -> list[list[str]]:
    """The cells of each line."""
    out = Console(file=StringIO(), width=width)
    out.print(storage_table(found, verbose=verbose, width=width))
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines if line.strip()]


def test_a_line_a_layer() -> None:
    head, first, second, told = shown(FOUND)
    assert head == ["weights of", "not zero", "dense", "CSR", "CSR in Ws", "BSR", "stored as"]
    assert first == ["fc1", "10.0 %", "40 KiB", "8 KiB", "4 KiB", "6 KiB", "CSR in 8s"]
    assert second == ["…ong/name/fc2", "50.0 %", "40 KiB", "8 KiB", "–", "–", "dense"]
    assert told == ["44 KiB in all; dense 80 KiB, 45.0 % less"]


def test_costs_below_the_bytes() -> None:
    _, _, below, _, last, told = shown(FOUND, verbose=True, width=100)
    assert below == ["9.00 k", "2.50 k", "900", "1.20 k"]
    assert last == ["9.00 k", "2.50 k"]
    assert "estimated instructions" in told[0]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_only_formats_that_were_compared_have_columns(width: int) -> None:
    head = shown(FOUND[1:], width=width)[0]
    assert head == ["weights of", "not zero", "dense", "CSR", "stored as"]


def test_where_room_is_short_formats_that_nobody_got_are_left_out() -> None:
    columns = Format(15, 0, 9000, 300)
    found = (Storage("fc1", 10240, 1024, "instructions", (DENSE, CSR, GROUPS, BLOCKS, columns), 4), FOUND[1])
    head, first, second, _ = shown(found)
    assert head == ["weights of", "not zero", "dense", "CSR", "columns", "stored as"]
    assert first == ["fc1", "10.0 %", "40 KiB", "8 KiB", "8.8 KiB", "columns in 15s"]
    assert second[-2:] == ["–", "dense"]
    assert shown(found, width=120)[0] == [*head[:4], "CSR in Ws", "BSR", *head[4:]]
