"""The types that an option of a pass may have: int, float, bool, str, Literal, tuples and unions of these.

A value comes from a command line, as a `Word` whose meaning depends on the type asked for, or typed, from a recipe.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin


class Word(str):
    """A value written without quotes: its meaning depends on the type that is asked for."""

    __slots__ = ()


class UnfitError(ValueError):
    """A value that is not of the type asked for."""


def convert(value: Any, kind: Any) -> Any:
    """The value as a field's type wants it."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, get_args(kind))
    if origin is Literal:
        found = [choice for choice in get_args(kind) if value == choice or (_is_word(value) and str(choice) == value)]
        return found[0] if found else _unfit()
    if origin in (tuple, Sequence):
        return _sequence(value, get_args(kind))
    if kind is type(None):
        return None if value is None or (_is_word(value) and value.lower() == "none") else _unfit()
    if kind is bool:
        return _boolean(value)
    if kind is str:
        return str(value) if isinstance(value, str) else _unfit()
    return _number(value, kind)


def takes(kind: Any) -> str:
    """What a field of this type takes, in words."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(takes(each) for each in get_args(kind))
    if origin is Literal:
        return "one of " + ", ".join(choices(kind))
    if origin in (tuple, Sequence):
        return f"a list [a,b], each {takes(get_args(kind)[0])}"
    known = {bool: "true or false", int: "an integer", float: "a number", str: "a text", type(None): "none"}
    return known.get(kind, str(kind))


def choices(kind: Any) -> list[str]:
    """The words that a type lists."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [word for each in get_args(kind) for word in choices(each)]


def _is_word(value: Any) -> bool:
    return isinstance(value, Word)


def _unfit() -> NoReturn:
    raise UnfitError


def _first_that_fits(value: Any, kinds: Sequence[Any]) -> Any:
    for kind in sorted(kinds, key=lambda k: k is str):  # a text takes every word: it comes last
        try:
            return convert(value, kind)
        except UnfitError:
            continue
    return _unfit()


def _sequence(value: Any, kinds: Sequence[Any]) -> tuple[Any, ...]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(kinds) == 1 or kinds[1:] == (...,):
        return tuple(convert(item, kinds[0]) for item in items)
    if len(items) != len(kinds):
        _unfit()
    return tuple(convert(item, kind) for item, kind in zip(items, kinds, strict=True))


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if _is_word(value) and value.lower() in ("true", "false"):
        return bool(value.lower() == "true")
    return _unfit()


def _number(value: Any, kind: Any) -> Any:
    if kind not in (int, float) or isinstance(value, bool) or (isinstance(value, str) and not _is_word(value)):
        _unfit()
    if kind is int and isinstance(value, float):
        _unfit()
    try:
        return kind(value)
    except (TypeError, ValueError):
        return _unfit()
