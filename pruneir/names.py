"""Names and globs: what a glob calls, and what an unknown name may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from pruneir.errors import PruneirError


def is_called(names: Iterable[str], globs: Iterable[str]) -> bool:
    """Whether a glob matches one of the names."""
    known = list(names)
    return any(fnmatchcase(name, glob) for glob in globs for name in known)


def require_matches(flag: str, globs: Iterable[str], names: Iterable[str]) -> None:
    """PruneirError, with near matches, for a glob that matches none of the names."""
    known = list(names)
    for glob in globs:
        if not is_called(known, [glob]):
            raise PruneirError("; ".join(filter(None, (f"{flag}: nothing is called '{glob}'", near(glob, known)))))


def near(name: str, known: Iterable[str], most: int = 3) -> str:
    """The nearest names as a question; empty if none is near."""
    found = get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(found)}?" if found else ""


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Near matches as a question, or all that is known if nothing is near."""
    known = list(known)
    return near(name, known) or f"{otherwise} {', '.join(known) or 'none'}"
