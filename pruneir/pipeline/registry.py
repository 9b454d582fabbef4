"""Passes by name: found through the entry-point group `pruneir.passes`, imported when one is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_type_hints

from pruneir.conflicts import require_effect
from pruneir.errors import PruneirError
from pruneir.names import did_you_mean, near
from pruneir.pipeline.fields import UnfitError, choices, convert, takes
from pruneir.pipeline.notation import read
from pruneir.pipeline.passes import Pass, written

GROUP = "pruneir.passes"


@dataclass(frozen=True, slots=True)
class Option:
    """A field of a pass: name, type, default, and the latter two in words."""

    name: str
    kind: Any
    value: Any
    takes: str
    default: str


def names() -> list[str]:
    """The passes that are installed. None is imported."""
    return sorted(_entries())


def get(name: str) -> type[Pass]:
    """The pass of that name. PruneirError, with near matches, if there is none."""
    entry = _entries().get(name)
    if entry is None:
        raise PruneirError(f"unknown pass '{name}'; {did_you_mean(name, names(), 'passes are')}")
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise PruneirError(f"pass '{name}' cannot be loaded from {entry.value}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise PruneirError(f"pass '{name}': {entry.value} is not a subclass of pruneir.pipeline.Pass")
    return found


def parse_pass(text: str) -> Pass:
    """The pass that a text such as `slim{ratio=0.5,absorb=false}` describes."""
    name, given = read(text)
    what = make(name, given)
    require_effect(what, f"pass {name}", given)  # not in `make`: recipes are written with every option
    return what


def make(name: str, given: Mapping[str, Any]) -> Pass:
    """A pass with some of its fields given, as words or as Python values."""
    kind = get(name)
    hints = _hints(kind)
    values = {}
    for key, value in given.items():
        if key not in hints:
            hint = did_you_mean(key, list(hints), "its options are") if hints else "it has no options"
            raise PruneirError(f"pass {name}: no option '{key}'; {hint}")
        try:
            values[key] = convert(value, hints[key])
        except UnfitError:
            shown = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
            wrong = f"pass {name}: {key} takes {takes(hints[key])}, not '{shown}'"
            raise PruneirError("; ".join(filter(None, (wrong, near(str(value), choices(hints[key]), 1))))) from None
    for key in hints:
        if key not in values and _default(kind, key) is ...:
            raise PruneirError(f"pass {name}: option '{key}' is required; it takes {takes(hints[key])}")
    return kind(**values)


def options(kind: type[Pass]) -> list[Option]:
    """The fields of a pass."""
    hints = _hints(kind)
    found = []
    for name, hint in hints.items():
        value = _default(kind, name)
        found.append(Option(name, hint, value, takes(hint), "required" if value is ... else written(value)))
    return found


def summary(kind: type[Pass]) -> str:
    """The first paragraph of a pass's page, as one line."""
    return " ".join((kind.__doc__ or "").strip().partition("\n\n")[0].split())


def _hints(kind: type[Pass]) -> dict[str, Any]:
    known = get_type_hints(kind)
    return {f.name: known[f.name] for f in fields(kind)}


def _default(kind: type[Pass], name: str) -> Any:
    """A field's default; ... if it has none."""
    field = next(f for f in fields(kind) if f.name == name)
    if field.default_factory is not MISSING:
        return field.default_factory()
    return ... if field.default is MISSING else field.default


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
