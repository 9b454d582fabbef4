"""Carrying out a cut: the only place that slices.

Constants lose the positions that died on each axis; operators whose attributes or integer constants count positions
are rewritten as their rules said. A vector whose uses lose different positions is copied per use, as `NAME@NODE`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneir.coupling import Coupling, Cut, Edit, Use
from pruneir.graph import Graph, Operator
from pruneir.memory import building

Kept = Mapping[int, np.ndarray]
Cuts = Mapping[str, Kept]
"""Kept positions by initializer and axis, in the indices of the graph that was cut."""


@dataclass(frozen=True, slots=True)
class Surgery:
    """A graph after a cut.

    graph  the new graph
    cuts   kept positions by initializer and axis
    copies vectors that were copied for one use, and what they are copies of
    """

    graph: Graph
    cuts: Cuts
    copies: Mapping[str, str]


def apply(coupling: Coupling, dead: np.ndarray) -> Surgery:
    """Remove every position that dies.

    dead  `[generators]`, one truth value per class, from `Coupling.dead`
    """
    with building():
        return _Surgeon(coupling, coupling.cut(dead)).run()


class _Surgeon:
    def __init__(self, coupling: Coupling, cut: Cut):
        self.coupling, self.traced = coupling, coupling.traced
        self.cut = cut
        self.graph = coupling.graph.copy()
        self.new: dict[Operator, Operator] = {}
        self.cuts: dict[str, dict[int, np.ndarray]] = {}
        self.copies: dict[str, str] = {}
        self.readers = Counter(n for op in self.graph.operators for n in (*op.inputs, *op.captures))
        self.edited: dict[tuple[Any, ...], str] = {}
        """New constants, by what they replace and hold: all that are to read the same read one."""

    def run(self) -> Surgery:
        for name, uses in self.coupling.uses_of.items():
            self._slice(name, uses)
        for operator, edits in self.traced.edits:
            for edit in edits:
                self._edit(operator, edit(self.cut))
        for old, new in self.new.items():
            self.graph.replace(old, new)
        for name in [n for n in self.graph.initializers if not self._is_read(n)]:
            self.graph.drop_initializer(name)
        if self.cuts:
            self.graph.forget_inner_types()
        return Surgery(self.graph, self.cuts, self.copies)

    def _slice(self, name: str, uses: list[Use]) -> None:
        kept = [self._kept(use) for use in uses]
        if not any(kept):
            return
        array = self.traced.graph.constant(name)
        assert array is not None
        if all(_same(each, kept[0]) for each in kept):
            self.graph.define(name, _sliced(array, kept[0]))
            self.cuts[name] = dict(kept[0])
            return
        if array.ndim > 1:
            raise AssertionError(f"uses of the shared tensor '{name}' were to be cut differently")
        for use, each in zip(uses, kept, strict=True):
            if each:
                copy = self.graph.fresh_name(f"{name}@{use.operator.label}")
                self.copies[copy] = name
                self.graph.define(copy, _sliced(array, each))
                self.cuts[copy] = dict(each)
                self._change(use.operator, self._now(use.operator).with_input(use.slot, copy))

    def _kept(self, use: Use) -> dict[int, np.ndarray]:
        touched = [(axis, labels) for axis, labels in enumerate(use.labels) if self.cut.touches(labels)]
        return {axis: self.cut.kept(labels) for axis, labels in touched}

    def _edit(self, operator: Operator, edit: Edit) -> None:
        """Write an operator anew, where the edit changes anything."""
        now = self._now(operator)
        if edit.type is not None:
            now = now.with_(type=edit.type, attributes=dict(edit.attributes), inputs=now.inputs[:1])
        elif any(now.attribute(key) != value for key, value in edit.attributes.items()):
            now = now.with_attributes(**edit.attributes)
        for slot, wanted in edit.constants.items():
            array = wanted
            old = operator.inputs[slot] if slot < len(operator.inputs) else ""
            before = self.traced.graph.constant(old) if old else None
            if old and before is None and edit.type is None:
                raise AssertionError(f"{operator} computes input {slot} at run time, and a constant was to replace it")
            if before is not None and edit.type is None:
                array = array.astype(before.dtype)
                array = array.reshape(before.shape) if array.size == before.size else array
                if np.array_equal(before, array):
                    continue
            key = (old, array.dtype, array.shape, array.tobytes())
            if key not in self.edited:
                alone = old and edit.type is None and self.readers[old] == 1
                name = old if alone else self.graph.fresh_name(f"{old or 'indices'}@{operator.label}")
                self.edited[key] = self.graph.define(name, array)
            now = now.with_input(slot, self.edited[key])
        if now is not self._now(operator):
            self._change(operator, now)

    def _now(self, operator: Operator) -> Operator:
        return self.new.get(operator, operator)

    def _change(self, operator: Operator, new: Operator) -> None:
        self.new[operator] = new

    def _is_read(self, name: str) -> bool:
        if name in self.graph.outputs or (name in self.graph.inputs and name not in self.cuts):
            return True
        return bool(self.graph.network.succ.get(name))


def _same(a: Kept, b: Kept) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[axis], b[axis]) for axis in a)


def _sliced(array: np.ndarray, kept: Kept) -> np.ndarray:
    for axis, positions in kept.items():
        array = array.take(positions, axis=axis)
    return array
