"""Which of several like cases a quick run has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first_quick(cases: Iterable[Any]) -> list[Any]:
    """The cases for `parametrize`, all but the first marked slow; tuples are several arguments."""
    first, *others = cases
    marked = (pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in others)
    return [first, *marked]


def only_quick(cases: Iterable[str], *quick: str) -> list[Any]:
    """The cases for `parametrize`, all but some marked slow."""
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
