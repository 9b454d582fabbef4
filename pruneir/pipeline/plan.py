"""What was cut, in the input file's own names and indices, so that any framework can replay it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pruneir.errors import PruneirError
from pruneir.surgery import Cuts

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Plan:
    """The cuts of a chain of passes, composed.

    kept     by initializer (`NAME`, or `NAME@NODE` for one use of a vector that was copied) and axis: the axis's
             length in the input file and the positions that stay, ascending
    changed  initializers whose values changed beyond slicing
    passes   the passes in order, as they were configured
    follows  vectors that are folded away, and the initializer and axis whose cuts they go on to share
    copies   vectors that were copied for one use, and the input file's name of what they are copies of
    """

    kept: Mapping[str, Mapping[int, tuple[int, np.ndarray]]] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    passes: tuple[str, ...] = ()
    follows: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)

    def then(
        self,
        cuts: Cuts,
        sizes: Mapping[str, tuple[int, ...]],
        changed: frozenset[str],
        name: str,
        follows: Mapping[str, tuple[str, int]] = _NOTHING,
        copies: Mapping[str, str] = _NOTHING,
    ) -> Plan:
        """This plan followed by a pass.

        cuts     what the pass cut
        sizes    shapes of the initializers before the pass
        follows  vectors that the pass took out, and the initializer and axis whose later cuts they share
        copies   vectors that the pass copied for one use, `NAME@NODE`: they go on from what was kept of `NAME`
        """
        composed = {key: dict(axes) for key, axes in self.kept.items()}
        following: dict[tuple[str, int], list[str]] = defaultdict(list)
        for vector, place in self.follows.items():
            following[place].append(vector)
        for key, axes in cuts.items():
            source = copies.get(key, key)
            entry = composed[key] = dict(self.kept.get(source, {}))
            for axis, kept in axes.items():
                size = sizes[source][axis]
                entry[axis] = _narrowed(entry.get(axis), size, kept)
                for vector in following.get((key, axis), ()):
                    composed[vector] = {0: _narrowed(composed.get(vector, {}).get(0), size, kept)}
        return Plan(
            composed,
            self.changed | changed,
            (*self.passes, name),
            {**self.follows, **follows},
            {**self.copies, **{copy: self.copies.get(source, source) for copy, source in copies.items()}},
        )

    def within(self, names: Container[str]) -> Plan:
        """The plan in the names of the input file: tensors that a pass has made since are not in it."""
        own = {key: axes for key, axes in self.kept.items() if key in names or self.copies.get(key) in names}
        return replace(self, kept=own)

    def to_json(self) -> dict[str, Any]:
        """The plan's file form, schema 1."""
        return {
            "schema": 1,
            "initializers": {
                name: {str(axis): {"size": size, "kept": kept.tolist()} for axis, (size, kept) in sorted(axes.items())}
                for name, axes in sorted(self.kept.items())
            },
            "changed": sorted(self.changed),
            "passes": list(self.passes),
        }

    @classmethod
    def from_json(cls, given: Any) -> Plan:
        """A plan from its file form. PruneirError, with what is wrong, for what is none."""
        given = _table(given, "it")
        if given.get("schema") != 1:
            raise PruneirError(f"its schema is {given.get('schema')!r}, and this version reads 1")
        kept = {}
        for name, axes in _table(given.get("initializers"), "initializers").items():
            entries = _table(axes, f"the entry of '{name}'").items()
            kept[name] = {_axis(axis, name): _positions(entry, f"axis {axis} of '{name}'") for axis, entry in entries}
        return cls(kept, frozenset(_texts(given, "changed")), tuple(_texts(given, "passes")))


def _narrowed(before: tuple[int, np.ndarray] | None, size: int, kept: np.ndarray) -> tuple[int, np.ndarray]:
    """What stays of an axis after another cut, in the indices that it had at first."""
    return (before[0], before[1][kept]) if before is not None else (size, kept)


def _table(given: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise PruneirError(f"{what} is no table of names")
    return given


def _texts(given: Mapping[str, Any], key: str) -> list[str]:
    found = given.get(key)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise PruneirError(f"{key} is no list of texts")
    return found


def _axis(given: str, name: str) -> int:
    if not given.isdecimal():
        raise PruneirError(f"'{given}' is no axis of '{name}'")
    return int(given)


def _positions(entry: Any, where: str) -> tuple[int, np.ndarray]:
    """The length of an axis and what stays of it."""
    entry = _table(entry, where)
    size, kept = entry.get("size"), entry.get("kept")
    if type(size) is not int or not isinstance(kept, list) or any(type(each) is not int for each in kept):
        raise PruneirError(f"{where} has no size and kept, an integer and a list of some")
    bounds = [-1, *kept, size]
    if any(one >= other for one, other in pairwise(bounds)):
        raise PruneirError(f"{where} keeps what are no ascending positions from 0 to {size - 1}")
    return size, np.array(kept, np.int64)
