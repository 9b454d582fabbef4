"""Mean and variance of every channel, estimated from the weights alone.

A BatchNorm tells its output's distribution: mean β, variance γ². From there the moments are carried through the graph:
a pointwise function by Gauss–Hermite quadrature of the Gaussian with these moments, E f(μ + σz) (for ReLU this is
β·Φ(β/|γ|) + |γ|·φ(β/|γ|)), a convolution by its weights with taps taken as independent, sums and products as if of
independent variables. What comes from a graph input counts as standard normal. Where γ = 0 the result is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pruneir.constants.functions import Functions
from pruneir.constants.linear import linear
from pruneir.coupling import Coupling
from pruneir.coupling.generators import Ids
from pruneir.graph import Operator

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(31)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()

POINTWISE = frozenset(
    (
        "Abs Atan Celu Clip Cos Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Mish Neg PRelu Relu Selu Sigmoid Sin "
        "Softplus Softsign Sqrt Swish Tanh ThresholdedRelu"
    ).split()
)
_SAME = frozenset("AveragePool Cast Dropout Identity MaxPool Resize Upsample".split())
_AVERAGES = frozenset("GlobalAveragePool ReduceMean".split())
_MOVED = frozenset(
    (
        "Flatten Gather GlobalAveragePool GlobalMaxPool Pad ReduceMax ReduceMean Reshape Slice Split Squeeze Transpose "
        "Unsqueeze"
    ).split()
)


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance per position of one axis, `[n]` each; every other axis is taken as constant."""

    axis: int
    mean: np.ndarray
    variance: np.ndarray


def estimate(coupling: Coupling) -> dict[str, Moments]:
    """The moments of every value that has some, by name."""
    return Estimate(coupling).run()


@dataclass(slots=True)
class Estimate:
    """Carries moments through a graph, operator by operator."""

    coupling: Coupling
    known: dict[str, Moments] = field(default_factory=dict)
    functions: Functions = field(init=False)

    def __post_init__(self) -> None:
        self.functions = Functions(self.coupling.graph.opset())

    def run(self) -> dict[str, Moments]:
        """The moments of every value that has some."""
        handlers: dict[str, Callable[[Operator], Moments | None]] = {"Concat": self._concat, "Mul": self._product}
        handlers |= dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul"), self._linear)
        handlers |= dict.fromkeys(("Add", "Sub", "Sum"), self._sum) | dict.fromkeys(_SAME, self._same)
        handlers |= dict.fromkeys(POINTWISE, self._pointwise)
        handlers["BatchNormalization"] = self._normalized
        for operator in self.coupling.graph.operators:
            if operator.is_a(*_MOVED):
                self._move(operator)
            elif operator.type in handlers and operator.is_a(operator.type):
                found = handlers[operator.type](operator)
                if found is not None and self._fits(operator.outputs[0], found):
                    self.known[operator.outputs[0]] = found
        return self.known

    # What each family does to moments

    def _normalized(self, operator: Operator) -> Moments | None:
        """Mean β and variance γ², as they were in training; a constant input is scaled and shifted exactly."""
        constants = [self.coupling.graph.constant(name) for name in operator.inputs[1:5]]
        if any(constant is None for constant in constants):
            return None
        scale, shift, mean, variance = (np.asarray(constant, np.float64) for constant in constants)
        x = self._of(operator, 0)
        if x is None or x.axis != 1:
            return Moments(1, shift, scale**2)
        fixed = x.variance == 0
        exact = scale * (x.mean - mean) / np.sqrt(variance + operator.attribute("epsilon", 1e-5)) + shift
        return Moments(1, np.where(fixed, exact, shift), np.where(fixed, 0, scale**2))

    def _linear(self, operator: Operator) -> Moments | None:
        if self._is_renormalized(operator):
            return None
        matrix = linear(self.coupling.graph, operator)
        shape = self.coupling.traced.shapes.shape(operator.outputs[0])
        if matrix is None or matrix.bias is None or shape is None:
            return None
        groups, _, _, width = matrix.weights.shape
        axis = 1 if operator.is_a("Conv", "ConvTranspose") else len(shape) - 1
        given = self._of(operator, 0)
        mean, variance = np.zeros(groups * width), np.ones(groups * width)
        if given is not None and given.axis == axis and len(given.mean) == groups * width:
            mean, variance = given.mean, given.variance
        return Moments(axis, matrix.of(mean) + matrix.bias, matrix.of_variance(variance))

    def _is_renormalized(self, operator: Operator) -> bool:
        """Whether only BatchNorms read a dense convolution of varying inputs: these know its moments themselves."""
        given = self.known.get(operator.inputs[0])
        readers = self.coupling.graph.users(operator.outputs[0])
        dense = operator.is_a("Conv") and operator.attribute("group", 1) == 1
        varying = given is None or bool(given.variance.any())
        return dense and varying and bool(readers) and all(reader.is_a("BatchNormalization") for reader in readers)

    def _pointwise(self, operator: Operator) -> Moments | None:
        x = self._of(operator, 0)
        if x is None:
            return None
        points = x.mean + np.sqrt(x.variance) * _NODES[:, None]
        operands = [self._along(operator, slot, x.axis) for slot in range(1, len(operator.inputs))]
        if any(operand is None for operand in operands):
            return None
        values = self.functions.of(operator, [points, *operands])  # type: ignore[list-item]
        mean = _WEIGHTS @ values
        return Moments(x.axis, mean, np.where(x.variance == 0, 0, _WEIGHTS @ (values - mean) ** 2))

    def _same(self, operator: Operator) -> Moments | None:
        x = self._of(operator, 0)
        shape = self.coupling.traced.shapes.shape(operator.outputs[0])
        before = self.coupling.traced.shapes.shape(operator.inputs[0])
        return x if shape and before and len(shape) == len(before) else None

    def _sum(self, operator: Operator) -> Moments | None:
        parts = [self._operand(operator, slot) for slot in range(len(operator.inputs))]
        axes = {part.axis for part in parts if part is not None and part.axis >= 0}
        if any(part is None for part in parts) or len(axes) != 1:
            return None
        signs = [1.0] + [-1.0 if operator.type == "Sub" else 1.0] * (len(parts) - 1)
        mean = sum(s * p.mean for s, p in zip(signs, parts, strict=True) if p is not None)
        variance = sum(p.variance for p in parts if p is not None)
        return Moments(axes.pop(), np.asarray(mean), np.asarray(variance))

    def _product(self, operator: Operator) -> Moments | None:
        a, b = self._operand(operator, 0), self._operand(operator, 1)
        if a is None or b is None or {a.axis, b.axis} - {-1} != {max(a.axis, b.axis)}:
            return None
        variance = a.variance * b.variance + a.variance * b.mean**2 + b.variance * a.mean**2
        return Moments(max(a.axis, b.axis), a.mean * b.mean, variance)

    def _concat(self, operator: Operator) -> Moments | None:
        shape = self.coupling.traced.shapes.shape(operator.outputs[0])
        if shape is None:
            return None
        axis = operator.attribute("axis", 1) % len(shape)
        means, variances = [], []
        for name in operator.inputs:
            part = self.known.get(name)
            size = (self.coupling.traced.shapes.shape(name) or shape)[axis]
            if part is not None and part.axis != axis:
                return None
            means.append(part.mean if part is not None else np.zeros(size))
            variances.append(part.variance if part is not None else np.zeros(size))
        return Moments(axis, np.concatenate(means), np.concatenate(variances))

    def _move(self, operator: Operator) -> None:
        """Positions keep their moments (an average has no variance); the labels tell which came from where."""
        x = self._of(operator, 0)
        state = self.coupling.traced.values.get(operator.inputs[0])
        labels = state.labels[x.axis] if state is not None and x is not None and x.axis < len(state.labels) else None
        if x is None or labels is None or labels.is_data:
            return
        source = _keys(self.coupling.generators.leaves(labels.rows()))
        order = np.argsort(source, kind="stable")
        if len(np.unique(source)) < len(source):
            return
        for name in operator.outputs:
            moved = self.coupling.traced.values.get(name)
            for axis, known in enumerate(moved.labels if moved else ()):
                if known is None or known.is_data:
                    continue
                keys = _keys(self.coupling.generators.leaves(known.rows()))
                at = order[np.searchsorted(source, keys, sorter=order).clip(max=len(order) - 1)]
                if np.array_equal(source[at], keys):
                    self.known[name] = Moments(axis, x.mean[at], self._moved(operator, x.variance[at]))

    # Inside

    def _moved(self, operator: Operator, variance: np.ndarray) -> np.ndarray:
        """The variance behind an operator that moves channels, or takes one number of each."""
        return np.zeros_like(variance) if operator.type in _AVERAGES else variance

    def _fits(self, name: str, moments: Moments) -> bool:
        shape = self.coupling.traced.shapes.shape(name)
        return shape is not None and moments.axis < len(shape) and shape[moments.axis] == len(moments.mean)

    def _of(self, operator: Operator, slot: int) -> Moments | None:
        return self.known.get(operator.inputs[slot])

    def _operand(self, operator: Operator, slot: int) -> Moments | None:
        """An operand's moments along the output's axis; a scalar has axis −1."""
        name = operator.inputs[slot]
        out = self.coupling.traced.shapes.shape(operator.outputs[0])
        array = self.coupling.graph.constant(name)
        if out is None:
            return None
        if array is None:
            shape, known = self.coupling.traced.shapes.shape(name), self.known.get(name)
            if known is None or shape is None:
                return None
            return Moments(known.axis + len(out) - len(shape), known.mean, known.variance)
        wide = [a for a, size in enumerate(array.shape) if size > 1]
        if len(wide) > 1:
            return None
        axis = wide[0] + len(out) - array.ndim if wide else -1
        flat = array.reshape(-1).astype(np.float64)
        return Moments(axis, flat, np.zeros_like(flat))

    def _along(self, operator: Operator, slot: int, axis: int) -> np.ndarray | None:
        """A constant operand of a pointwise function as a scalar or a vector along the axis; None if it is neither."""
        if not operator.inputs[slot]:
            return np.zeros(0)
        found = self._operand(operator, slot)
        if found is None or found.variance.any() or found.axis not in (-1, axis):
            return None
        return found.mean if found.axis == axis else found.mean.reshape(())


def _keys(rows: Ids) -> Ids:
    """One number per row of generators."""
    if rows.shape[1] == 1:
        return rows[:, 0]
    rows = np.sort(rows, axis=1)[:, ::-1]  # whatever the order of the factors, and wherever a shorter row is padded
    weights = np.random.default_rng(0).integers(1, 2**62, rows.shape[1], np.int64)
    return np.asarray((rows * weights).sum(axis=1))
