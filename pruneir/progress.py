"""How far a long task is, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Told what begins, and the share of the work that is done."""


def silent(what: str, share: float) -> None:
    """Progress that nobody watches."""
