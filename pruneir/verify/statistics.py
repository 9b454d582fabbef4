"""Normalisations that `cut_norms` opened, in the uncut network: their statistics are those of the channels that stay.

Such an operator reads only the positions that stay, and what it returns is spread out again over all positions, with
zeros where a channel goes: x → Gather(kept) → operator → Pad → Gather.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.coupling import Coupling, Cut
from pruneir.coupling.labels import Labels
from pruneir.graph import Graph, Operator


def over_kept(coupling: Coupling, cut: Cut, graph: Graph) -> Graph:
    """The graph with every opened normalisation taking its statistics over the kept positions; changed in place."""
    wrapping = _Wrapping(coupling, cut, graph)
    for operator in coupling.traced.opened:
        now = graph.producer(operator.outputs[0])
        if now is not None:
            wrapping.wrap(operator, now)
    return graph


@dataclass(frozen=True, slots=True)
class _Wrapping:
    coupling: Coupling
    cut: Cut
    graph: Graph

    def wrap(self, original: Operator, now: Operator) -> None:
        """Put an operator between gathers of what stays and spreads of what it makes."""
        before: list[Operator] = []
        inner = now
        for slot, source in enumerate(now.inputs):
            name = source
            for axis, labels in self._cut_axes(original, slot):
                name = self._gather(name, axis, self.cut.kept(labels), before, f"{now.label}.{slot}.{axis}")
                inner = inner.with_input(slot, name)
        for other, edits in self.coupling.traced.edits:
            for edit in edits if other is original else ():
                inner = inner.with_attributes(**edit(self.cut).attributes)
        after: list[Operator] = []
        for slot, name in enumerate(now.outputs):
            state = self.coupling.traced.values.get(name)
            axes = (
                [(a, known) for a, known in enumerate(state.labels) if known is not None and self.cut.touches(known)]
                if state
                else []
            )
            if axes:
                small = self.graph.fresh_name(f"{name}.kept")
                inner = inner.with_(outputs=(*inner.outputs[:slot], small, *inner.outputs[slot + 1 :]))
                self._spread(small, name, axes, after)
        self.graph.replace(now, *before, inner, *after)

    def _cut_axes(self, operator: Operator, slot: int) -> list[tuple[int, Labels]]:
        """The axes of an input that lose positions, constants' axes as this operator uses them."""
        name = operator.inputs[slot]
        uses = [use for use in self.coupling.uses_of.get(name, ()) if use.operator is operator and use.slot == slot]
        state = self.coupling.traced.values.get(name)
        labels = uses[0].labels if uses else state.labels if state is not None else ()
        return [(axis, known) for axis, known in enumerate(labels) if known is not None and self.cut.touches(known)]

    def _gather(self, source: str, axis: int, positions: np.ndarray, into: list[Operator], name: str) -> str:
        out = self.graph.fresh_name(name)
        self.graph.define(f"{out}.positions", positions.astype(np.int64))
        into.append(Operator("Gather", (source, f"{out}.positions"), (out,), {"axis": axis}, out))
        return out

    def _spread(self, small: str, name: str, axes: list[tuple[int, Labels]], into: list[Operator]) -> None:
        """Position i of the kept goes back to where it came from; all others read one padded zero."""
        rank = len(self.coupling.traced.values[name].labels)
        for index, (axis, labels) in enumerate(axes):
            mask = self.cut.mask(labels)
            padded = self.graph.fresh_name(f"{name}.padded{axis}")
            pads = [0] * (2 * rank)
            pads[rank + axis] = 1
            pad = Operator("Pad", (small,), (padded,), {"pads": tuple(pads)}, padded)
            if self.graph.opset() >= 11:
                self.graph.define(f"{padded}.pads", np.array(pads, np.int64))
                pad = Operator("Pad", (small, f"{padded}.pads"), (padded,), {}, padded)
            into.append(pad)
            positions = np.where(mask, np.cumsum(mask) - 1, mask.sum())
            out = name if index == len(axes) - 1 else self.graph.fresh_name(f"{name}.spread{axis}")
            self.graph.define(f"{padded}.spread", positions.astype(np.int64))
            into.append(Operator("Gather", (padded, f"{padded}.spread"), (out,), {"axis": axis}, f"{padded}.spread"))
            small = out
