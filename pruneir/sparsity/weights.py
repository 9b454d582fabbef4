"""Which tensors of a graph are weights: the constant matrices and kernels that linear operators multiply data with.

Biases, scales and tables are none. A tensor that several operators read is one weight; what is set to zero in it is
zero for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.graph import Graph, Operator
from pruneir.names import is_called
from pruneir.tolerance import is_float

Masks = Mapping[str, np.ndarray]
"""By tensor name: True where a weight stays, of the tensor's shape."""

_SLOTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1)}
_CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """One tensor, and the operators that multiply with it.

    array  of two axes or more, floating-point; not to be written
    uses   operators in file order, and the input by which each reads it
    """

    name: str
    array: np.ndarray
    uses: tuple[tuple[Operator, int], ...]

    @property
    def layer(self) -> str:
        """The label of the first operator that reads it."""
        return self.uses[0][0].label

    @property
    def names(self) -> set[str]:
        """What a glob may call it by: its own name, and its operators' labels."""
        return {self.name, *(operator.label for operator, _ in self.uses)}

    @property
    def is_kernel(self) -> bool:
        """Whether it is a convolution's."""
        return self.uses[0][0].is_a(*_CONVOLUTIONS)

    @property
    def input_axis(self) -> int:
        """The axis that is summed over: input channels, or the rows of x·W. Taps of a kernel are the axes behind."""
        operator, slot = self.uses[0]
        if operator.is_a(*_CONVOLUTIONS):
            return 1 if operator.is_a("Conv") else 0
        last = self.array.ndim - 1
        turned = operator.is_a("Gemm") and bool(operator.attribute("transB" if slot else "transA", 0))
        return last - 1 if turned != bool(slot) else last

    @property
    def output_axis(self) -> int:
        """The axis of filters or neurons."""
        if self.is_kernel:
            return 1 - self.input_axis
        return 2 * self.array.ndim - 3 - self.input_axis

    @property
    def nonzero(self) -> int:
        """How many of its entries are not zero."""
        return int(np.count_nonzero(self.array))

    def is_called(self, globs: Iterable[str]) -> bool:
        """Whether a glob matches one of its names."""
        return is_called(self.names, globs)


def weights(graph: Graph) -> list[Weight]:
    """The weights of a graph, in the order of the operators that read them first."""
    uses: dict[str, list[tuple[Operator, int]]] = defaultdict(list)
    for operator in graph.operators:
        for slot in _slots(operator):
            array = graph.constant(operator.inputs[slot])
            if array is not None and array.ndim >= 2 and array.size and is_float(array.dtype):
                uses[operator.inputs[slot]].append((operator, slot))
    found = []
    for name, reads in uses.items():
        array = graph.constant(name)
        assert array is not None
        if name not in graph.outputs:
            found.append(Weight(name, array, tuple(reads)))
    return found


def with_values(graph: Graph, values: Mapping[str, np.ndarray]) -> Graph:
    """A graph of its own in which some constant tensors have other values, of the same shape."""
    result = graph.copy()
    for name, array in values.items():
        result.define(name, array)
    return result


def masked(graph: Graph, masks: Masks) -> Graph:
    """The graph with zero wherever a mask is False."""
    values = {}
    for name, mask in masks.items():
        array = graph.constant(name)
        assert array is not None
        if not mask.all():
            values[name] = np.where(mask, array, np.zeros((), array.dtype))
    return with_values(graph, values)


def density(given: Sequence[Weight]) -> float:
    """The share of all entries that are not zero; 1 where there is no weight."""
    total = sum(weight.array.size for weight in given)
    return sum(weight.nonzero for weight in given) / total if total else 1.0


def _slots(operator: Operator) -> tuple[int, ...]:
    slots = next((slots for kind, slots in _SLOTS.items() if operator.is_a(kind)), ())
    return tuple(slot for slot in slots if slot < len(operator.inputs) and operator.inputs[slot])
