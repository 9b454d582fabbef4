"""What was cut, in the input file's own names and indices, so that any framework can replay it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Cuts = Mapping[str, Mapping[int, np.ndarray]]
"""Kept positions by initializer and axis, in the indices of the graph that was cut."""


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
        for key, axes in cuts.items():
            source = copies.get(key, key)
            entry = composed[key] = dict(self.kept.get(source, {}))
            for axis, kept in axes.items():
                size = sizes[source][axis]
                entry[axis] = _narrowed(entry.get(axis), size, kept)
                for vector in (v for v, place in self.follows.items() if place == (key, axis)):
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
        made = {key for key in self.changed if key not in names and self.copies.get(key) not in names}
        return replace(self, kept={key: axes for key, axes in self.kept.items() if key not in made})

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
    def from_json(cls, given: Mapping[str, Any]) -> Plan:
        """A plan from its file form."""
        kept = {
            name: {int(a): (int(e["size"]), np.array(e["kept"], np.int64)) for a, e in axes.items()}
            for name, axes in given["initializers"].items()
        }
        return cls(kept, frozenset(given["changed"]), tuple(given["passes"]))


def _narrowed(before: tuple[int, np.ndarray] | None, size: int, kept: np.ndarray) -> tuple[int, np.ndarray]:
    """What stays of an axis after another cut, in the indices that it had at first."""
    return (before[0], before[1][kept]) if before is not None else (size, kept)
