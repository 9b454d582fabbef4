from __future__ import annotations

import pytest

from pruneir import numbers


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (999.9, "1.00 k"),
        (1000, "1.00 k"),
        (9994, "9.99 k"),
        (9996, "10.0 k"),
        (12_345, "12.3 k"),
        (999_600, "1.00 M"),
        (4_090_000_000, "4.09 G"),
    ],
)
def test_three_digits(value: float, shown: str) -> None:
    assert numbers.count(value) == shown


def test_sizes_and_ratios() -> None:
    assert numbers.size(512) == "512 B"
    assert numbers.size(102_460_056) == "102 MB"
    assert numbers.ratio(3, 1) == "3.00×"
    assert numbers.ratio(3, 0) == "–"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234, "1234 ms"),
        (12.34, "12.3 ms"),
        (0.1, "0.10 ms"),
        (0.0994, "99.4 µs"),
        (0.00012, "0.12 µs"),
        (0, "0.00 µs"),
    ],
)
def test_milliseconds(value: float, shown: str) -> None:
    assert numbers.milliseconds(value) == shown
    assert numbers.share(0.051) == "5.1 %"
    assert numbers.share(4.6e-7) == "4.6e-07"
    assert numbers.share(0) == "0"
    assert numbers.plural(1, "channel") == "1 channel"
    assert numbers.plural(1200, "channel") == "1,200 channels"
