"""Elementwise operators as C expressions on vectors: what is computed on the fly where values are made.

    INLINE vf conv_3_finish(vf sum, void *const *p, long point, long filter, int lanes) {
        vf v0 = sum + vf_load((const float *)p[3] + filter);
        vf v1 = vf_max(v0, vf_set(0));
        return v1;
    }

A region is a chain, or a small net, of such operators between one value and the next that other operators see. Operands
from outside are whatever broadcasts into the region's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from math import prod

import numpy as np
import onnx

from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes

Shape = tuple[int, ...]
_ZERO, _ONE = "vf_set(0)", "vf_set(1)"


def _number(value: float) -> str:
    """A float as C reads it, exactly."""
    number = np.float32(value)
    if np.isnan(number):
        return "vf_set(NAN)"
    if np.isinf(number):
        return f"vf_set({'-' if number < 0 else ''}INFINITY)"
    return f"vf_set({float(number).hex()}f)"


def _clip(operator: Operator, graph: Graph, x: str) -> str:
    low, high = (
        operator.attribute(name) if name in operator.attributes else _scalar(operator, slot, graph)
        for name, slot in (("min", 1), ("max", 2))
    )
    x = x if low is None else f"vf_max({_number(low)}, {x})"
    return x if high is None else f"vf_min({_number(high)}, {x})"


def _scalar(operator: Operator, slot: int, graph: Graph) -> float | None:
    name = operator.inputs[slot] if slot < len(operator.inputs) else ""
    value = graph.constant(name) if name else None
    return float(value.ravel()[0]) if value is not None else None


def _between_zero_and_one(x: str) -> str:
    return f"vf_min({_ONE}, vf_max({_ZERO}, {x}))"


def _hard_sigmoid(operator: Operator, graph: Graph, x: str) -> str:
    del graph
    alpha, beta = operator.attribute("alpha", 0.2), operator.attribute("beta", 0.5)
    return _between_zero_and_one(f"vf_fma({x}, {_number(alpha)}, {_number(beta)})")


def _leaky(operator: Operator, graph: Graph, x: str) -> str:
    del graph
    return f"vf_select({x} < {_ZERO}, {x} * {_number(operator.attribute('alpha', 0.01))}, {x})"


def _elu(operator: Operator, graph: Graph, x: str) -> str:
    del graph
    less = f"{_number(operator.attribute('alpha', 1.0))} * (vf_exp({x}) - {_ONE})"
    return f"vf_select({x} < {_ZERO}, {less}, {x})"


def _celu(operator: Operator, graph: Graph, x: str) -> str:
    del graph
    alpha = operator.attribute("alpha", 1.0)
    return f"vf_select({x} < {_ZERO}, {_number(alpha)} * (vf_exp({x} * {_number(1 / alpha)}) - {_ONE}), {x})"


def _selu(operator: Operator, graph: Graph, x: str) -> str:
    del graph
    alpha, gamma = operator.attribute("alpha", 1.6732632), operator.attribute("gamma", 1.0507010)
    return f"{_number(gamma)} * vf_select({x} < {_ZERO}, {_number(alpha)} * (vf_exp({x}) - {_ONE}), {x})"


def _gelu(operator: Operator, graph: Graph, x: str) -> str:
    del graph
    if operator.attribute("approximate", b"none") in (b"tanh", "tanh"):
        inner = f"{_number(0.7978845608028654)} * vf_fma({_number(0.044715)} * {x} * {x}, {x}, {x})"
        return f"vf_set(0.5f) * {x} * ({_ONE} + vf_tanh({inner}))"
    return f"vf_set(0.5f) * {x} * ({_ONE} + vf_erf({x} * {_number(0.7071067811865476)}))"


# vf_max and vf_min give the second of their arguments where one is NaN; so a bound comes first.
Writer = Callable[[Operator, Graph, str], str]
_UNARY: dict[str, Writer] = {
    "Relu": lambda o, g, x: f"vf_max({_ZERO}, {x})",
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda o, g, x: f"{x} * {_between_zero_and_one(f'vf_fma({x}, {_number(1 / 6)}, vf_set(0.5f))')}",
    "Sigmoid": lambda o, g, x: f"vf_sigmoid({x})",
    "Tanh": lambda o, g, x: f"vf_tanh({x})",
    "Erf": lambda o, g, x: f"vf_erf({x})",
    "Exp": lambda o, g, x: f"vf_exp({x})",
    "Gelu": _gelu,
    "Softplus": lambda o, g, x: f"vf_softplus({x})",
    "Mish": lambda o, g, x: f"{x} * vf_tanh(vf_softplus({x}))",
    "Log": lambda o, g, x: f"vf_log({x})",
    "Sqrt": lambda o, g, x: f"vf_sqrt({x})",
    "Reciprocal": lambda o, g, x: f"{_ONE} / {x}",
    "Neg": lambda o, g, x: f"-{x}",
    "Abs": lambda o, g, x: f"vf_abs({x})",
    "Identity": lambda o, g, x: x,
    "Dropout": lambda o, g, x: x,
}
_BINARY: dict[str, Callable[[str, str], str]] = {
    "Add": lambda a, b: f"{a} + {b}",
    "Sub": lambda a, b: f"{a} - {b}",
    "Mul": lambda a, b: f"{a} * {b}",
    "Div": lambda a, b: f"{a} / {b}",
    "Max": lambda a, b: f"vf_select({a} == {a}, vf_max({a}, {b}), {a})",
    "Min": lambda a, b: f"vf_select({a} == {a}, vf_min({a}, {b}), {a})",
    "PRelu": lambda a, b: f"vf_select({a} < {_ZERO}, {a} * {b}, {a})",
    "Sum": lambda a, b: f"{a} + {b}",
    "Winners": lambda a, b: f"vf_select(vf_abs({a}) < {b}, {_ZERO}, {a})",
}
_VARIADIC = ("Sum", "Max", "Min")
_POWERS = {
    2.0: lambda x: f"{x} * {x}",
    3.0: lambda x: f"{x} * {x} * {x}",
    0.5: lambda x: f"vf_sqrt({x})",
    1.0: lambda x: x,
    -1.0: lambda x: f"{_ONE} / {x}",
    -0.5: lambda x: f"{_ONE} / vf_sqrt({x})",
}
"""Of Pow: exponents that are no function of their own."""


@dataclass(frozen=True, slots=True)
class Place:
    """The value that a region computes with: its shape, and which of its axes vectors lie along."""

    shape: Shape
    channel: int

    @property
    def channels(self) -> int:
        """Elements along that axis."""
        return self.shape[self.channel]

    @property
    def last(self) -> bool:
        """Whether channels lie last in memory, and not where ONNX has them."""
        return len(self.shape) > 2 and self.channel == 1

    @property
    def points(self) -> tuple[int, ...]:
        """All other axes, in the order in which they lie in memory."""
        return tuple(axis for axis in range(len(self.shape)) if axis != self.channel)


def elementwise(operator: Operator, place: Place, graph: Graph, shapes: Shapes, inside: set[str]) -> bool:
    """Whether an operator can be part of a region.

    inside  values that the region computes
    """
    if (
        not operator.is_a(*_UNARY, *_BINARY, "Pow", "BatchNormalization")
        or len([o for o in operator.outputs if o]) != 1
    ):
        return False
    if shapes.shape(operator.outputs[0]) != place.shape or not _is_float(operator.outputs[0], shapes):
        return False
    if operator.is_a("BatchNormalization"):
        constant = all(graph.constant(name) is not None for name in operator.inputs[1:])
        return constant and place.channel == 1 and not operator.attribute("training_mode", 0)
    if operator.is_a(*_UNARY):
        return all(not name or graph.constant(name) is not None for name in operator.inputs[1:])
    if operator.is_a("Pow"):
        return _power(operator, graph) is not None
    if len(operator.inputs) != 2 and not operator.is_a(*_VARIADIC):
        return False
    return all(name in inside or _read(name, place, graph, shapes) is not None for name in operator.inputs)


def _power(operator: Operator, graph: Graph) -> Callable[[str], str] | None:
    exponent = graph.constant(operator.inputs[1])
    return _POWERS.get(float(exponent.ravel()[0])) if exponent is not None and exponent.size == 1 else None


def _is_float(name: str, shapes: Shapes) -> bool:
    return shapes.elem_type(name) == onnx.TensorProto.FLOAT


def _read(name: str, place: Place, graph: Graph, shapes: Shapes) -> Shape | None:
    """The shape of a value from outside with as many axes as the region has, each as long or 1; None: it has not."""
    constant = graph.constant(name)
    shape = tuple(constant.shape) if constant is not None else shapes.shape(name)
    if shape is None or len(shape) > len(place.shape):
        return None
    if not (_is_float(name, shapes) if constant is None else constant.dtype == np.float32):
        return None
    aligned = (1,) * (len(place.shape) - len(shape)) + shape
    if any(size not in (1, whole) for size, whole in zip(aligned, place.shape, strict=True)):
        return None
    turned = place.last and aligned[1] != 1 and prod(aligned[2:]) != 1
    return None if turned and constant is None and len(shape) < len(place.shape) else aligned


@dataclass(slots=True)
class Finish:
    """The C function of a region, and what it reads.

    first     place of its first operand among the kernel's pointers
    operands  values that it reads, in the order of the pointers; `#3` is the fourth of its `constants`
    """

    place: Place
    graph: Graph
    shapes: Shapes
    lanes: int
    first: int
    operands: list[str] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def source(self, name: str, start: str, operators: Sequence[Operator], bias: np.ndarray | None = None) -> str:
        """The function, for the region that begins at the value `start`; its last operator's output is returned."""
        self._names[start] = "sum"
        if bias is not None:
            self._names[start] = self._assign(f"sum + {self._by_channel(bias)}")
        for operator in operators:
            self._names[operator.outputs[0]] = self._assign(self._expression(operator))
        result = self._names[operators[-1].outputs[0]] if operators else self._names[start]
        body = "".join(f"    {line}\n" for line in self._lines)
        head = f"INLINE vf {name}_finish(vf sum, void *const *p, long point, long filter, int lanes) {{\n"
        unused = "    (void)p, (void)point, (void)filter, (void)lanes;\n"
        return f"{head}{unused}{body}    return {result};\n}}\n"

    def _assign(self, expression: str) -> str:
        name = f"v{len(self._lines)}"
        self._lines.append(f"vf {name} = {expression};")
        return name

    def _expression(self, operator: Operator) -> str:
        if operator.is_a("BatchNormalization"):
            scale, shift = affine(operator, self.graph)
            return f"vf_fma({self._value(operator.inputs[0])}, {self._by_channel(scale)}, {self._by_channel(shift)})"
        if operator.type in _UNARY:
            return _UNARY[operator.type](operator, self.graph, self._value(operator.inputs[0]))
        power = _power(operator, self.graph) if operator.is_a("Pow") else None
        if power is not None:
            return power(self._value(operator.inputs[0]))
        first, *others = (self._value(name) for name in operator.inputs)
        return reduce(lambda one, other: f"({_BINARY[operator.type](one, other)})", others, first)

    def _value(self, name: str) -> str:
        if name in self._names:
            return self._names[name]
        shape, constant = _read(name, self.place, self.graph, self.shapes), self.graph.constant(name)
        assert shape is not None
        along = shape[self.place.channel] != 1
        if constant is None:
            read = self._assign(self._load(self._pointer(name), shape))
        elif constant.size == 1:
            read = _number(float(constant.ravel()[0]))
        elif along and constant.size == shape[self.place.channel]:
            read = self._by_channel(constant.ravel())
        else:
            aligned = constant.reshape(shape)
            self.constants.append(np.moveaxis(aligned, 1, -1) if self.place.last else aligned)
            read = self._assign(self._load(self._pointer(f"#{len(self.constants) - 1}"), shape))
        self._names[name] = read
        return read

    def _load(self, pointer: str, shape: Shape) -> str:
        index = _index(shape, self.place)
        if shape[self.place.channel] == 1:
            return f"vf_set({pointer}[{index or 0}])"
        return f"vf_load_n({pointer} + {index + ' + ' if index else ''}filter, lanes)"

    def _by_channel(self, values: np.ndarray) -> str:
        if values.size and np.all(values == values.flat[0]):
            return _number(float(values.flat[0]))
        padded = np.zeros((-(-values.size // self.lanes) + 1) * self.lanes, np.float32)  # groups end within a vector
        padded[: values.size] = values.ravel()
        self.operands.append(f"#{len(self.constants)}")
        self.constants.append(padded)
        return self._assign(f"vf_load((const float *)p[{self.first + len(self.operands) - 1}] + filter)")

    def _pointer(self, name: str) -> str:
        self.operands.append(name)
        return f"((const float *)p[{self.first + len(self.operands) - 1}])"


def _index(shape: Shape, place: Place) -> str:
    """Where the channels of a point begin in an operand of this shape, as C in `point`; empty: at 0."""
    terms: list[str] = []
    inner, stride = 1, shape[place.channel]
    runs = [(known, [place.shape[axis] for axis in run]) for known, run in _runs(shape, place)]
    for number, (known, sizes) in reversed([*enumerate(runs)]):
        if known:
            term = "point" if inner == 1 else f"point / {inner}"
            term = term if number == 0 else f"{term} % {prod(sizes)}"
            terms.append(term if stride == 1 else f"{term} * {stride}")
            stride *= prod(sizes)
        inner *= prod(sizes)
    return " + ".join(terms)


def _runs(shape: Shape, place: Place) -> list[tuple[bool, list[int]]]:
    """Axes of points, in order, in runs of those that an operand has and those over which it is repeated."""
    axes = [axis for axis in place.points if place.shape[axis] != 1]
    return [(known, [*run]) for known, run in groupby(axes, key=lambda axis: shape[axis] != 1)]


def affine(operator: Operator, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a BatchNormalization, by channel."""
    gamma, beta, mean, variance = (np.asarray(graph.constant(name), np.float64) for name in operator.inputs[1:5])
    scale = gamma / np.sqrt(variance + operator.attribute("epsilon", 1e-5))
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)
