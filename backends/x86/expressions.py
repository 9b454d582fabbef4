"""Elementwise operators as C expressions on vectors: what is computed on the fly where values are made.

    INLINE vf conv_3_finish(vf sum, void *const *p, long point, long filter, int lanes) {
        vf v0 = sum + vf_load((const float *)p[3] + filter);
        vf v1 = vf_max(v0, vf_set(0));
        return v1;
    }

A region is a chain, or a small net, of such operators between one value and the next that other operators see. Operands
from outside are numbers, one number a channel, or tensors with as many elements or with one a sample and channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes

Shape = tuple[int, ...]
_ZERO, _ONE = "vf_set(0)", "vf_set(1)"


def _number(value: float) -> str:
    """A float as C reads it, exactly."""
    if np.isinf(value):
        return f"vf_set({'-' if value < 0 else ''}INFINITY)"
    return f"vf_set({float(np.float32(value)).hex()}f)"


def _clip(operator: Operator, graph: Graph, x: str) -> str:
    low, high = (
        operator.attribute(name) if name in operator.attributes else _scalar(operator, slot, graph)
        for name, slot in (("min", 1), ("max", 2))
    )
    x = x if low is None else f"vf_max({x}, {_number(low)})"
    return x if high is None else f"vf_min({x}, {_number(high)})"


def _scalar(operator: Operator, slot: int, graph: Graph) -> float | None:
    name = operator.inputs[slot] if slot < len(operator.inputs) else ""
    value = graph.constant(name) if name else None
    return float(value.ravel()[0]) if value is not None else None


def _between_zero_and_one(x: str) -> str:
    return f"vf_min(vf_max({x}, {_ZERO}), {_ONE})"


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


def _gelu(operator: Operator, graph: Graph, x: str) -> str:
    del graph
    if operator.attribute("approximate", b"none") in (b"tanh", "tanh"):
        inner = f"{_number(0.7978845608028654)} * vf_fma({_number(0.044715)} * {x} * {x}, {x}, {x})"
        return f"vf_set(0.5f) * {x} * ({_ONE} + vf_tanh({inner}))"
    return f"vf_set(0.5f) * {x} * ({_ONE} + vf_erf({x} * {_number(0.7071067811865476)}))"


Writer = Callable[[Operator, Graph, str], str]
_UNARY: dict[str, Writer] = {
    "Relu": lambda o, g, x: f"vf_max({x}, {_ZERO})",
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda o, g, x: f"{x} * {_between_zero_and_one(f'vf_fma({x}, {_number(1 / 6)}, vf_set(0.5f))')}",
    "Sigmoid": lambda o, g, x: f"vf_sigmoid({x})",
    "Tanh": lambda o, g, x: f"vf_tanh({x})",
    "Erf": lambda o, g, x: f"vf_erf({x})",
    "Exp": lambda o, g, x: f"vf_exp({x})",
    "Gelu": _gelu,
    "Softplus": lambda o, g, x: f"vf_softplus({x})",
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
    "Max": lambda a, b: f"vf_max({a}, {b})",
    "Min": lambda a, b: f"vf_min({a}, {b})",
    "PRelu": lambda a, b: f"vf_select({a} < {_ZERO}, {a} * {b}, {a})",
}


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
    def points(self) -> int:
        """All other elements of a sample."""
        return prod(self.shape) // max(1, self.channels * self.samples)

    @property
    def samples(self) -> int:
        """Length of the first axis, unless vectors lie along it."""
        return self.shape[0] if self.channel else 1


def elementwise(operator: Operator, place: Place, graph: Graph, shapes: Shapes, inside: set[str]) -> bool:
    """Whether an operator can be part of a region.

    inside  values that the region computes
    """
    if not operator.is_a(*_UNARY, *_BINARY, "BatchNormalization") or len([o for o in operator.outputs if o]) != 1:
        return False
    if shapes.shape(operator.outputs[0]) != place.shape or not _is_float(operator.outputs[0], shapes):
        return False
    if operator.is_a("BatchNormalization"):
        constant = all(graph.constant(name) is not None for name in operator.inputs[1:])
        return constant and place.channel == 1 and not operator.attribute("training_mode", 0)
    if operator.is_a(*_UNARY):
        return all(not name or graph.constant(name) is not None for name in operator.inputs[1:])
    if len(operator.inputs) != 2:
        return False
    return all(name in inside or _kind(name, place, graph, shapes) is not None for name in operator.inputs)


def _is_float(name: str, shapes: Shapes) -> bool:
    return shapes.elem_type(name) == 1


def _kind(name: str, place: Place, graph: Graph, shapes: Shapes) -> str | None:
    """How a value from outside is read: as a number, by channel, by sample and channel, or whole; None: not at all."""
    constant = graph.constant(name)
    shape = constant.shape if constant is not None else shapes.shape(name)
    if shape is None or (constant is None and not _is_float(name, shapes)):
        return None
    if constant is not None and constant.dtype != np.float32:
        return None
    if prod(shape) == 1 and len(shape) <= len(place.shape):
        return "number"
    if len(shape) > len(place.shape):
        return None
    aligned = (1,) * (len(place.shape) - len(shape)) + tuple(shape)
    if aligned == place.shape and constant is None:
        return "whole"
    beside = [size for axis, size in enumerate(aligned) if axis != place.channel]
    if aligned[place.channel] != place.channels:
        return None
    if all(size == 1 for size in beside):
        return "channel"
    batch = place.channel > 0 and aligned[0] == place.shape[0] and all(size == 1 for size in beside[1:])
    return "gate" if batch else None


@dataclass(slots=True)
class Finish:
    """The C function of a region, and what it reads.

    first     place of its first operand among the kernel's pointers
    operands  values that it reads, whole or in part, in the order of the pointers
    """

    place: Place
    graph: Graph
    shapes: Shapes
    lanes: int
    first: int
    operands: list[str] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    whole: set[str] = field(default_factory=set)
    _places: list[tuple[str, int]] = field(default_factory=list)
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
        a, b = (self._value(name) for name in operator.inputs)
        return _BINARY[operator.type](a, b)

    def _value(self, name: str) -> str:
        if name in self._names:
            return self._names[name]
        kind, constant = _kind(name, self.place, self.graph, self.shapes), self.graph.constant(name)
        if constant is not None:
            flat = constant.ravel()
            read = _number(float(flat[0])) if kind == "number" else self._by_channel(flat)
        elif kind == "number":
            read = f"vf_set(*{self._pointer(name)})"
        else:
            read = self._assign(f"vf_load_n({self._pointer(name)} + {self._index(kind)}, lanes)")
            if kind == "whole":
                self.whole.add(name)
        self._names[name] = read
        return read

    def _index(self, kind: str | None) -> str:
        if kind == "whole":
            return f"point * {self.place.channels} + filter"
        if kind == "gate" and self.place.samples > 1:
            return f"point / {self.place.points} * {self.place.channels} + filter"
        return "filter"

    def _by_channel(self, values: np.ndarray) -> str:
        if np.all(values == values.flat[0]):
            return _number(float(values.flat[0]))
        padded = np.zeros((-(-values.size // self.lanes) + 1) * self.lanes, np.float32)  # groups end within a vector
        padded[: values.size] = values.ravel()
        self.operands.append(f"#{len(self.constants)}")
        self.constants.append(padded)
        return self._assign(f"vf_load((const float *)p[{self.first + len(self.operands) - 1}] + filter)")

    def _pointer(self, name: str) -> str:
        self.operands.append(name)
        return f"(const float *)p[{self.first + len(self.operands) - 1}]"


def affine(operator: Operator, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a BatchNormalization, by channel."""
    gamma, beta, mean, variance = (np.asarray(graph.constant(name), np.float64) for name in operator.inputs[1:5])
    scale = gamma / np.sqrt(variance + operator.attribute("epsilon", 1e-5))
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


Operands = Mapping[str, str]
