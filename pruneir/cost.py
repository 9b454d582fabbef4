"""What a network costs, whole or cut: multiply-accumulates, parameters, bytes, and the peak of its activations.

Multiply-accumulates (MACs) are those that the coupling rules state, a product of axis lengths per operator. They and
the activations count one sample where the batch is symbolic. A cut axis counts the positions that stay; nothing is
rewritten to find that out, so that a budget can be searched for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from weakref import WeakKeyDictionary

import ml_dtypes
import numpy as np
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.coupling import Coupling, Cut, Use
from pruneir.coupling.labels import Labels
from pruneir.graph import Operator
from pruneir.onnx_io.tensors import is_packed
from pruneir.shapes import Shapes, at_batch, infer

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
    counter = MacCounter(coupling)
    found: dict[Operator, int] = defaultdict(int)
    for term, macs in zip(coupling.traced.macs, counter.terms(counter.lengths_after(cut)).tolist(), strict=True):
        found[term.operator] += macs
    return dict(found)


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


class MacCounter:
    """Counts the multiply-accumulates that many different cuts of one graph would leave, all axes at once."""

    def __init__(self, coupling: Coupling):
        self._labels: list[Labels] = []
        self._full: list[int] = []
        """Every axis that may be cut: its labels, and its length at one sample."""
        self._build(coupling)
        self._generators = coupling.generators

    @cached_property
    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        """The generators of every position of every axis, `[positions, factors]`, and how many positions each has."""
        rows = [self._generators.leaves(labels.base) for labels in self._labels]
        width = max((r.shape[1] for r in rows), default=1)
        padded = [np.pad(r, ((0, 0), (0, width - r.shape[1]))) for r in rows]
        return np.concatenate([np.zeros((0, width), np.int64), *padded]), np.array([len(r) for r in rows], np.int64)

    def total(self, dead: np.ndarray) -> int:
        """The multiply-accumulates that are left when some classes go; `dead` as for `Coupling.cut`."""
        leaves, heights = self._positions
        if not len(heights):
            return int(self._fixed.sum())
        gone = dead[leaves[:, 0]]
        for column in leaves.T[1:]:
            gone |= dead[column]
        left = heights - np.add.reduceat(gone.astype(np.int64), np.cumsum(heights) - heights)
        return int(self.terms(np.array(self._full, np.int64) * left // heights).sum())

    def lengths_after(self, cut: Cut | None) -> np.ndarray:
        """The length of every axis that may be cut, after a cut."""
        sized = zip(self._full, self._labels, strict=True)
        return np.array([full if cut is None else _left(full, labels, cut) for full, labels in sized], np.int64)

    def terms(self, lengths: np.ndarray) -> np.ndarray:
        """The multiply-accumulates of every term, at these axis lengths."""
        return np.asarray(self._fixed * np.append(lengths, 1)[self._axes].prod(axis=1))

    def _build(self, coupling: Coupling) -> None:
        """Per term, a fixed factor and the indices of axes that may be cut."""
        shapes = _single_sample(coupling)
        known: dict[tuple[int, int], int] = {}
        fixed, axes = [], []
        for term in coupling.traced.macs:
            factor, indices = term.factor, []
            for name, axis, labels in term.axes:
                length = _length(coupling, shapes, name, axis)
                if labels.is_data:
                    factor *= length
                    continue
                key = (id(labels), length)
                if key not in known:
                    known[key] = len(self._labels)
                    self._labels.append(labels)
                    self._full.append(length)
                indices.append(known[key])
            fixed.append(factor)
            axes.append(indices)
        width = max(map(len, axes), default=0)
        self._fixed = np.array(fixed, np.int64)
        self._axes = np.array([row + [-1] * (width - len(row)) for row in axes], np.int64).reshape(len(axes), width)


class _Memory:
    """How many bytes of values are live while the operators run one by one."""

    def __init__(self, coupling: Coupling, cut: Cut | None):
        self.coupling, self.cut = coupling, cut
        self.shapes = _single_sample(coupling)
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
                    lengths[axis] = _left(lengths[axis], labels, self.cut)
        return prod(lengths) * (1 if kind == TensorProto.STRING else tensor_dtype_to_np_dtype(kind).itemsize)


def _constants(coupling: Coupling, cut: Cut | None) -> tuple[int, int]:
    """Floating-point elements and bytes of the constants that operators read; copies for uses that disagree count."""
    by_name: dict[str, list[Use]] = defaultdict(list)
    for use in coupling.traced.uses:
        by_name[use.name].append(use)
    params = size = 0
    for name, uses in by_name.items():
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
        return prod(_left(n, labels, cut) for n, labels in zip(array.shape, uses[0].labels, strict=True))
    kept = {tuple(cut.mask(labels).tobytes() for labels in use.labels): use for use in uses}
    copies = uses if len(kept) > 1 else uses[:1]
    whole = [use for use in copies if not any(cut.touches(labels) for labels in use.labels)]
    copies = [use for use in copies if use not in whole[1:]]
    return sum(_elements(array, [use], cut) for use in copies)


def _left(length: int, labels: Labels, cut: Cut) -> int:
    """How much of an axis stays, whose length may be another than that of its labels, where it holds the batch too."""
    if labels.is_data or not cut.touches(labels):
        return length
    return length * cut.count(labels) // len(labels)


def _length(coupling: Coupling, shapes: Shapes, name: str, axis: int) -> int:
    shape = shapes.shape(name) or coupling.traced.shapes.shape(name)
    assert shape is not None
    return shape[axis]


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or (array.dtype.kind == "V" and "float" in array.dtype.name)


def _bits(array: np.ndarray) -> int:
    """Bits of an element in a file."""
    if not is_packed(array):
        return 8 * array.dtype.itemsize
    return int(ml_dtypes.finfo(array.dtype).bits if _is_float(array) else ml_dtypes.iinfo(array.dtype).bits)


_SINGLE: WeakKeyDictionary[Coupling, Shapes] = WeakKeyDictionary()


def _single_sample(coupling: Coupling) -> Shapes:
    """The shapes at one sample, found once a coupling."""
    if coupling not in _SINGLE:
        traced = coupling.traced.shapes
        inputs = at_batch(coupling.graph, traced.inputs, 1)
        _SINGLE[coupling] = traced if inputs == traced.inputs else infer(coupling.graph, inputs)
    return _SINGLE[coupling]
