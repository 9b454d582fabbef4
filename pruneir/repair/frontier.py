"""One run of a network over the data, stop by stop, that may change what has not run yet.

Between two stops the values that later operators read are held for all batches; each operator runs once. Values that no
data reaches, and those that are no tensors, are computed again wherever they are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import onnx

from pruneir.data import Data
from pruneir.graph import Graph, Operator
from pruneir.onnx_io.evaluate import evaluate
from pruneir.repair.samples import counts_of
from pruneir.repair.store import Store

_SEQUENCES: tuple[str, ...] = (
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceInsert",
    "SequenceErase",
    "SplitToSequence",
    "SequenceMap",
)
_SEQUENCES += ("Optional", "If", "Loop", "Scan")


class Frontier:
    """Advances over a graph, whose operators may be changed ahead of it as long as its values keep their names.

    stops  the values wanted at each stop, in topological order
    size   samples a batch
    """

    def __init__(self, graph: Graph, data: Data, size: int, stops: Sequence[Sequence[str]], store: Store):
        self.graph, self.data, self.size, self.stops, self.store = graph, data, size, stops, store
        self.counts = counts_of(data, size)
        self._varying = self._reached()
        self._last = self._lifetimes()

    def advance(self, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """The values wanted at the next stop, batch by batch."""
        wanted = self.stops[stop]
        operators, inputs = self._segment(wanted)
        made = {name: operator for operator in operators for name in operator.outputs if name}
        keep = [n for n, operator in made.items() if self._last.get(n, -1) > stop and self._is_held(operator)]
        new = [name for name in wanted if name in made]
        found = self._run(operators, inputs, list(dict.fromkeys((*new, *keep))), [n for n in wanted if n not in made])
        for index, values in enumerate(found):
            for name in keep:
                self.store.put(name, index, values[name])
            yield {name: values[name] for name in wanted}
        for name in [name for name, last in self._last.items() if last <= stop]:
            self.store.drop(name)

    def peek(self, wanted: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """Values further on, computed with the network as it is now, and not held."""
        operators, inputs = self._segment(wanted)
        made = {name for operator in operators for name in operator.outputs}
        there = [name for name in wanted if name not in made]
        return self._run(operators, inputs, [name for name in wanted if name in made], there)

    # Planning

    def _reached(self) -> set[str]:
        """Tensors that depend on data: only these are held."""
        found = set(self.graph.data_inputs)
        for operator in self.graph.operators:
            if not found.isdisjoint((*operator.inputs, *operator.captures)):
                found.update(filter(None, operator.outputs))
        return found

    def _is_held(self, operator: Operator) -> bool:
        return not operator.is_a(*_SEQUENCES) and not self._varying.isdisjoint(operator.outputs)

    def _lifetimes(self) -> dict[str, int]:
        """The last stop before which an operator reads a value."""
        last: dict[str, int] = {}
        done: set[Operator] = set()
        for stop, wanted in enumerate(self.stops):
            waiting, seen = list(wanted), set(done)
            while waiting:
                name = waiting.pop()
                last[name] = stop
                operator = self.graph.producer(name)
                if operator is None or operator in seen:
                    continue
                seen.add(operator)
                if self._is_held(operator):
                    done.add(operator)
                waiting += [source for source in (*operator.inputs, *operator.captures) if source in self._varying]
        return last

    # Running

    def _segment(self, wanted: Iterable[str]) -> tuple[list[Operator], list[str]]:
        """The operators between what is held and what is wanted, and the varying values that they read from outside."""
        operators: dict[Operator, None] = {}
        inputs: dict[str, None] = {}
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            operator = self.graph.producer(name) if name else None
            if name in self.store or operator is None:
                if name in self._varying:
                    inputs[name] = None
            elif operator not in operators:
                operators[operator] = None
                waiting += [*operator.inputs, *operator.captures]
        return list(operators), list(inputs)

    def _run(
        self, operators: list[Operator], inputs: list[str], outputs: list[str], others: list[str]
    ) -> Iterator[dict[str, np.ndarray]]:
        """The outputs of a segment, with other values that are there already."""
        feeds = self._feeds(list(dict.fromkeys((*inputs, *others))))
        if not outputs:
            yield from feeds
            return
        first = next(feeds)
        part = _extracted(self.graph, operators, {name: first[name] for name in inputs}, outputs)
        running: deque[dict[str, np.ndarray]] = deque()

        def given() -> Iterator[dict[str, np.ndarray]]:
            for each in chain((first,), feeds):
                running.append(each)
                yield {name: each[name] for name in inputs}

        for values in evaluate(part, outputs, given()):
            yield {**running.popleft(), **values}

    def _feeds(self, names: list[str]) -> Iterator[dict[str, np.ndarray]]:
        fed = [name for name in names if name not in self.store]
        batches = self.data.batches(self.size) if fed else None
        for index in range(len(self.counts)):
            values = dict(next(batches).feeds) if batches is not None else {}
            yield {name: values[name] if name in fed else self.store.get(name, index) for name in names}


def _extracted(
    graph: Graph, operators: Sequence[Operator], inputs: dict[str, np.ndarray], outputs: Sequence[str]
) -> Graph:
    """A part of a graph as one of its own."""
    part = Graph(graph.name)
    part.header.CopyFrom(graph.header)
    for name, array in inputs.items():
        part.inputs.append(name)
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        part.declare(name, kind, [None] * array.ndim)
    for operator in operators:
        part.add(operator)
        for name in (*operator.inputs, *operator.captures):
            if name in graph.initializers and name not in part.initializers:
                part.set_initializer(name, graph.initializers[name])
    part.outputs += outputs
    return part
