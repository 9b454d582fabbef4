"""How long a run of a network takes, from its steps alone: nothing is packed, written or compiled.

A kernel says how many cycles its arithmetic takes. What it reads and writes is moved at the same time, and the longer
of the two counts; its weights come from memory, since those of a network rarely stay in a cache until it runs again.
What TVM compiles is counted by its products and by the numbers that it makes, and only roughly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, prod

from pruneir.backends.x86.cpu import GHZ, X86Cpu
from pruneir.backends.x86.expressions import Place
from pruneir.backends.x86.fusion import Region
from pruneir.backends.x86.lower import Step, setting_of, steps
from pruneir.backends.x86.moves import Move
from pruneir.backends.x86.work import MEMORY, Setting
from pruneir.cost import macs_by_operator
from pruneir.coupling import couple
from pruneir.graph import Graph, Operator

_CACHED = 10
"""Bytes of values that a kernel reads and writes in a cycle. Measured on Zen 3: 7 to 14, and 5 where they are 10 MB."""
_FUNCTIONS = {"Elu": 16, "Exp": 16, "Sigmoid": 16, "Tanh": 22, "Erf": 28, "Gelu": 28, "Softplus": 49}
"""Cycles of a vector in functions of runtime/vmath.h. Measured on Zen 3."""
_PRODUCT, _NUMBER = 4, 10
"""Cycles in what TVM compiles: of a product, which waits for the sum before it, and of a number that is made."""


def milliseconds(graph: Graph, cpu: X86Cpu) -> float:
    """Of one run of a graph with fixed shapes, on one core. PruneirError, one line, for a shape that is not known."""
    setting = setting_of(graph, cpu)
    found = steps(setting)
    macs = macs_by_operator(couple(graph)) if any(_is_left_to_tvm(step) for step in found) else {}
    walk = _Walk(setting, macs, {(name, False) for name in graph.data_inputs})
    for step in found:
        walk.take(step)
    for name in graph.outputs:
        walk.read(name, last=False)
    return walk.cycles / (GHZ * 1e6)


def _is_left_to_tvm(step: Step) -> bool:
    return step.region is None and step.move is None


@dataclass(slots=True)
class _Walk:
    """Goes through the steps of a graph, in order, and counts cycles.

    macs   products of operators
    there  values, and whether they are there with channels last
    """

    setting: Setting
    macs: Mapping[Operator, int]
    there: set[tuple[str, bool]]
    cycles: float = field(default=0.0)

    def take(self, step: Step) -> None:
        """One step."""
        if step.move is not None:
            self._move(step.main, step.move)
        elif step.region is not None and step.place is not None:
            self._kernel(step, step.region, step.place)
        else:
            self._island(step.main)

    def read(self, value: str, *, last: bool) -> int:
        """Bytes of a value that is read in an order of its axes. It is transposed if it is there in the other only."""
        if self.setting.graph.constant(value) is not None:
            return 0
        size, shape = self._size(value), self._shape(value)
        if (value, last) not in self.there:
            self.there.add((value, last))
            flat = len(shape) < 3 or shape[1] == 1 or prod(shape[2:]) == 1
            self.cycles += 0 if flat else 2 * size / _CACHED
        return size

    def _kernel(self, step: Step, region: Region, place: Place) -> None:
        work, graph = step.work, self.setting.graph
        made = {output for operator in region.operators for output in operator.outputs}
        made |= set(step.main.outputs)
        operands = {name for operator in region.operators for name in operator.inputs if name} - made
        size = self._size(region.value)
        for name in operands:
            aligned = graph.constant(name) is None and len(self._shape(name)) == len(place.shape)
            size += self.read(name, last=step.last and aligned)
        if work is not None:
            size += self.read(work.data, last=work.last) + sum(self.read(name, last=False) for name in work.others)
        vectors = prod(place.shape) // place.channels * ceil(place.channels / self.setting.cpu.lanes)
        arithmetic = vectors * sum(_FUNCTIONS.get(operator.type, 0) for operator in region.operators)
        weights = 0.0
        if work is not None:
            arithmetic += work.cycles
            weights = work.weight_bytes / MEMORY
        self.cycles += max(arithmetic, size / _CACHED) + weights
        self.there.add((region.value, step.last))

    def _move(self, operator: Operator, move: Move) -> None:
        if move.same is not None:
            self.read(move.same, last=move.last != move.turned)
            self.there.add((operator.outputs[0], move.last))
        for copy in move.copies:
            if isinstance(copy.source, str):
                self.read(copy.source, last=copy.last)
            self.cycles += 2 * 4 * copy.kernel.size / _CACHED
            self.there.add((copy.target, move.last))

    def _island(self, operator: Operator) -> None:
        for name in filter(None, operator.inputs):
            self.read(name, last=False)
        numbers = 0
        for name in filter(None, operator.outputs):
            numbers += prod(self._shape(name))
            self.there.add((name, False))
        self.cycles += _PRODUCT * self.macs.get(operator, 0) + _NUMBER * numbers

    def _shape(self, value: str) -> tuple[int, ...]:
        shape = self.setting.shapes.shape(value)
        assert shape is not None
        return shape

    def _size(self, value: str) -> int:
        return 4 * prod(self._shape(value))
