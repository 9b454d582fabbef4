"""What is written into a part of a tensor, `x[:, 2:4] = y` in a framework: a Concat of what is around it and of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.folding.edit import bypass
from pruneir.folding.sizes import Samples, varies
from pruneir.graph import Graph, Operator


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of an axis, which does not cover it."""

    axis: int
    start: int
    stop: int
    length: int


def write_slice(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """ScatterND(x, {all places of a box}, y) -> Concat(Slice(x), y, Slice(x)), by each axis that the box leaves."""
    data, where, updates = operator.inputs
    indices, shape = graph.constant(where), samples.shape(data)
    if indices is None or shape is None or operator.attribute("reduction", "none") != "none":
        return ()
    known = shape[: indices.shape[-1]]
    if not indices.size or any(map(varies, known)):
        return ()
    box = _box(indices, [column[0] for column in known])
    if not box:
        return () if box is None else bypass(graph, operator, updates)
    writing = _Writing(graph, samples, operator)
    graph.replace(operator, writing.joined(data, box, updates, operator.outputs[0]))
    return (operator.outputs[0],)


def _box(indices: np.ndarray, lengths: list[int]) -> list[_Run] | None:
    """The runs that indices `[…, axes]` name place by place, but those that are a whole axis; None if they do not."""
    sizes, rows = indices.shape[:-1], indices.reshape(-1, len(lengths))
    starts = rows[0]
    if len(sizes) != len(lengths) or (starts < 0).any():
        return None
    places = np.indices(sizes).reshape(len(sizes), -1).T + starts
    if not np.array_equal(places, rows) or (rows[-1] >= lengths).any():
        return None
    runs = [_Run(a, int(starts[a]), int(starts[a] + sizes[a]), lengths[a]) for a in range(len(lengths))]
    return [run for run in runs if run.stop - run.start < run.length]


@dataclass(frozen=True, slots=True)
class _Writing:
    graph: Graph
    samples: Samples
    operator: Operator

    def joined(self, data: str, box: list[_Run], updates: str, out: str) -> Operator:
        """The operator that makes `out`: the data with the box replaced."""
        run, *rest = box
        middle = updates
        if rest:
            middle = self._name(f"part_{run.axis}")
            self.graph.add(self.joined(self._slice(data, run, run.start, run.stop), rest, updates, middle))
        before = [self._slice(data, run, 0, run.start)] if run.start else []
        after = [self._slice(data, run, run.stop, run.length)] if run.stop < run.length else []
        name = self.operator.name if out in self.operator.outputs else out
        return Operator("Concat", (*before, middle, *after), (out,), {"axis": run.axis}, name)

    def _slice(self, data: str, run: _Run, start: int, stop: int) -> str:
        out = self._name("slice")
        ends = [
            self.graph.define(self._name("slice.at"), np.array([number], np.int64))
            for number in (start, stop, run.axis)
        ]
        self.graph.add(Operator("Slice", (data, *ends), (out,), {}, out), near=self.operator)
        return out

    def _name(self, word: str) -> str:
        return self.samples.fresh_name(self.graph, f"{self.operator.label}.{word}")
