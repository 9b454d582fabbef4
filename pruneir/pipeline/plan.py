"""What was cut, in the input file's own names and indices, so that any framework can replay it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Cuts = Mapping[str, Mapping[int, np.ndarray]]
"""Kept positions by initializer and axis, in the indices of the graph that was cut."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The cuts of a chain of passes, composed.

    kept     by initializer (`NAME`, or `NAME@NODE` for one use of a vector that was copied) and axis: the axis's
             length in the input file and the positions that stay, ascending
    changed  initializers whose values changed beyond slicing
    passes   the passes in order, as they were configured
    """

    kept: Mapping[str, Mapping[int, tuple[int, np.ndarray]]] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    passes: tuple[str, ...] = ()

    def then(self, cuts: Cuts, sizes: Mapping[str, tuple[int, ...]], changed: frozenset[str], name: str) -> Plan:
        """This plan followed by a pass's cuts; `sizes` are the shapes of the initializers before that pass.

        A vector that this pass copied, `NAME@NODE`, goes on from what was kept of `NAME`.
        """
        composed = {key: dict(axes) for key, axes in self.kept.items()}
        for key, axes in cuts.items():
            source = key if key in composed else key.rpartition("@")[0] or key
            entry = composed[key] = dict(composed.get(source, {}))
            for axis, kept in axes.items():
                if axis in entry:
                    size, before = entry[axis]
                    entry[axis] = (size, before[kept])
                else:
                    entry[axis] = ((sizes.get(key) or sizes[source])[axis], kept)
        return Plan(composed, self.changed | changed, (*self.passes, name))

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
