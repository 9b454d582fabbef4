"""What a network costs, whole or cut: multiply-accumulates, parameters, bytes, and the peak of its activations.

Multiply-accumulates (MACs) are those that the coupling rules state, a product of axis lengths per operator. They and
the activations count one sample where the batch is symbolic. A cut axis counts the positions that stay; nothing is
rewritten to find that out, so that a budget can be searched for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import ml_dtypes
import numpy as np
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.coupling import Coupling, Cut, Use
from pruneir.coupling.macs import left
from pruneir.graph import Operator
from pruneir.onnx_io.tensors import is_packed

_ALIASES = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""Operators whose output shares its input's memory."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs.

    macs             multiply-accumulates
    params           elements of floating-point constants
    bytes            of all constants
    activation_peak  most bytes of values that are live at once, in the order of the file
    """

    macs: int
    params: int
    bytes: int
    activation_peak: int


def cost(coupling: Coupling, cut: Cut | None = None) -> Cost:
    """What the coupling's graph costs, or what is left of that after a cut."""
    macs = sum(macs_by_operator(coupling, cut).values())
    params, size = _constants(coupling, cut)
    return Cost(macs, params, size, _Memory(coupling, cut).peak())


def macs_by_operator(coupling: Coupling, cut: Cut | None = None) -> dict[Operator, int]:
    """The multiply-accumulates of every operator that has some."""
    return coupling.mac_counter.by_operator(cut)


def prunable_share(coupling: Coupling) -> float:
    """The share of multiply-accumulates whose operator has an axis that can lose channels."""
    generators = coupling.generators
    free: dict[int, bool] = {}
    prunable: set[Operator] = set()
    for term in coupling.traced.macs:
        for _, _, labels in term.axes:
            if id(labels) not in free:
                free[id(labels)] = not bool(generators.locked(generators.leaves(labels.base)).all())
            if free[id(labels)]:
                prunable.add(term.operator)
    macs = macs_by_operator(coupling)
    return sum(macs[operator] for operator in prunable) / max(sum(macs.values()), 1)


class _Memory:
    """How many bytes of values are live while the operators run one by one."""

    def __init__(self, coupling: Coupling, cut: Cut | None):
        self.coupling, self.cut = coupling, cut
        self.shapes = coupling.one_sample
        self.owner: dict[str, str] = {}
        """The value whose memory a value is in."""

    def peak(self) -> int:
        graph = self.coupling.graph
        operators = self._reading_data()
        writes = [self._written(operator) for operator in operators]
        reads = [self._owners((*operator.inputs, *operator.captures)) for operator in operators]
        last = {name: step for step, names in enumerate(reads) for name in names}
        last |= dict.fromkeys(self._owners(graph.outputs), len(operators))
        sizes = {name: self._bytes(name) for name in graph.data_inputs}
        live = peak = sum(sizes.values())
        for step, (read, written) in enumerate(zip(reads, writes, strict=True)):
            sizes |= {name: self._bytes(name) for name in written}
            live += sum(sizes[name] for name in written)
            peak = max(peak, live)
            live -= sum(sizes.get(name, 0) for name in {*read, *written} if last.get(name, step) == step)
        return peak

    def _reading_data(self) -> list[Operator]:
        """The operators, without those that only make parameters and shapes."""
        varying = set(self.coupling.graph.data_inputs)
        found = []
        for operator in self.coupling.graph.operators:
            if not varying.isdisjoint((*operator.inputs, *operator.captures)):
                varying.update(operator.outputs)
                found.append(operator)
        return found

    def _owners(self, names: Iterable[str]) -> set[str]:
        return {self.owner.get(name, name) for name in names}

    def _written(self, operator: Operator) -> list[str]:
        """The outputs that need memory of their own."""
        outputs = list(filter(None, operator.outputs))
        if operator.is_a(*_ALIASES) and operator.inputs[0] not in self.coupling.graph.initializers:
            self.owner[operator.outputs[0]] = self.owner.get(operator.inputs[0], operator.inputs[0])
            outputs.remove(operator.outputs[0])
        return outputs

    def _bytes(self, name: str) -> int:
        """The size of a value; zero where its shape is not known."""
        shape = self.shapes.shape(name) or self.coupling.traced.shapes.shape(name)
        kind = self.shapes.elem_type(name)
        if shape is None or not kind:
            return 0
        state = self.coupling.traced.values.get(name)
        lengths = list(shape)
        if state is not None and self.cut is not None:
            for axis, labels in enumerate(state.labels):
                if labels is not None:
                    lengths[axis] = left(lengths[axis], labels, self.cut)
        return prod(lengths) * (1 if kind == TensorProto.STRING else tensor_dtype_to_np_dtype(kind).itemsize)


def _constants(coupling: Coupling, cut: Cut | None) -> tuple[int, int]:
    """Floating-point elements and bytes of the constants that operators read; copies for uses that disagree count."""
    params = size = 0
    for name, uses in coupling.uses_of.items():
        array = coupling.graph.constant(name)
        if array is None:
            continue
        elements = _elements(array, uses, cut)
        params += elements if _is_float(array) else 0
        size += -(-elements * _bits(array) // 8)
    return params, size


def _elements(array: np.ndarray, uses: list[Use], cut: Cut | None) -> int:
    if cut is None:
        return array.size
    if len(uses) == 1:
        return prod(left(n, labels, cut) for n, labels in zip(array.shape, uses[0].labels, strict=True))
    kept = {tuple(cut.mask(labels).tobytes() for labels in use.labels): use for use in uses}
    copies = uses if len(kept) > 1 else uses[:1]
    whole = [use for use in copies if not any(cut.touches(labels) for labels in use.labels)]
    copies = [use for use in copies if use not in whole[1:]]
    return sum(_elements(array, [use], cut) for use in copies)


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or (array.dtype.kind == "V" and "float" in array.dtype.name)


def _bits(array: np.ndarray) -> int:
    """Bits of an element in a file."""
    if not is_packed(array):
        return 8 * array.dtype.itemsize
    return int(ml_dtypes.finfo(array.dtype).bits if _is_float(array) else ml_dtypes.iinfo(array.dtype).bits)
