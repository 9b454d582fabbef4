"""Random networks for compilation, as hypothesis draws them: any rank, both layouts, broadcasts, values read again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any

from hypothesis import strategies as st

from pruneir.graph import Graph, parse

Shape = tuple[int, ...]
_UNARY = ("Relu", "Sigmoid", "HardSwish", "Tanh", "Softplus", "Neg", "Abs", "LeakyRelu", "Identity", "Elu")
_BINARY = ("Add", "Sub", "Mul", "Max", "Min", "Sum")
_LARGEST = 6000
"""Elements of a value."""


@dataclass
class _Writer:
    """Statements in text form, and the shapes of the values that they made."""

    draw: st.DrawFn
    inputs: dict[str, Shape]
    lines: list[str] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    shared: dict[Shape, str] = field(default_factory=dict)
    count: int = 0

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def one(self, choices: Iterable[Any]) -> Any:
        return self.draw(st.sampled_from([*choices]))

    def value(self, *ranks: int) -> str:
        """A value of one of these ranks, or of any; empty if there is none."""
        fit = [name for name, shape in self.shapes.items() if not ranks or len(shape) in ranks]
        return str(self.one(fit[-8:])) if fit else ""

    def image(self) -> str:
        """A value with channels and one or two further axes, and elements; empty if there is none."""
        fit = [name for name, shape in self.shapes.items() if len(shape) in (3, 4) and 0 not in shape]
        return str(self.one(fit[-8:])) if fit else ""

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def weights(self, *shape: int) -> str:
        """A constant, sometimes one that another operator reads."""
        known = self.shared.get(shape, "")
        if known and any(f" {known}[" in line for line in self.lines) and self.number(0, 2) == 0:
            return known
        self.shared[shape] = self.name("w")
        return f"{self.shared[shape]}[{','.join(map(str, shape))}]"

    def put(self, expression: str, shape: Shape) -> None:
        if prod(shape) <= _LARGEST:
            name = self.name("v")
            self.lines.append(f"{name} = {expression}")
            self.shapes[name] = shape

    # One method an operator

    def conv(self) -> None:
        x = self.image()
        if not x:
            return
        n, c, *size = self.shapes[x]
        group = self.one([1, 1, *(g for g in range(2, c + 1) if c % g == 0)])
        kernel = [self.number(1, min(3, each)) for each in size]
        strides, pads = [self.number(1, 2) for _ in size], [self.number(0, 1) for _ in size] * 2
        out = group * self.number(1, 9 // group + 1)
        made = [
            (each + pads[axis] + pads[axis + len(size)] - kernel[axis]) // strides[axis] + 1
            for axis, each in enumerate(size)
        ]
        bias = f", {self.weights(out)}" if self.number(0, 1) else ""
        weights = self.weights(out, c // group, *kernel)
        self.put(f"Conv({x}, {weights}{bias}, group={group}, strides={strides}, pads={pads})", (n, out, *made))

    def pool(self) -> None:
        x = self.image()
        if x:
            n, c, *size = self.shapes[x]
            kind = self.one(["MaxPool", "AveragePool"])
            if min(size) > 1:
                made = [each - 1 for each in size]
                self.put(f"{kind}({x}, kernel_shape={[2] * len(size)})", (n, c, *made))

    def gate(self) -> None:
        x = self.image()
        if x:
            n, c, *size = self.shapes[x]
            pooled = self.name("v")
            self.lines.append(f"{pooled} = {self.one(['GlobalAveragePool', 'GlobalMaxPool'])}({x})")
            self.shapes[pooled] = (n, c, *(1 for _ in size))
            self.put(f"Mul({x}, {pooled})", self.shapes[x])

    def norm(self) -> None:
        x = self.image()
        if x:
            c = self.shapes[x][1]
            self.put(f"BatchNormalization({x}, {', '.join(self.weights(c) for _ in range(4))})", self.shapes[x])

    def unary(self) -> None:
        x = self.value()
        self.put(f"{self.one(_UNARY)}({x})", self.shapes[x])

    def scaled(self) -> None:
        x = self.value()
        shape = [each if self.number(0, 1) else 1 for each in self.shapes[x]][self.number(0, len(self.shapes[x])) :]
        pair = [x, self.weights(*shape)]
        first, second = pair[:: self.one([1, -1])]
        self.put(f"{self.one(_BINARY)}({first}, {second})", self.shapes[x])

    def binary(self) -> None:
        x = self.value()
        fit = [y for y, shape in self.shapes.items() if _meet(self.shapes[x], shape) is not None]
        y = str(self.one(fit))
        made = _meet(self.shapes[x], self.shapes[y])
        assert made is not None
        self.put(f"{self.one(_BINARY)}({x}, {y})", made)

    def concat(self) -> None:
        x = self.value(1, 2, 3, 4, 5)
        if x:
            shape = self.shapes[x]
            axis = self.number(0, len(shape) - 1)
            fit = [y for y, other in self.shapes.items() if _beside(shape, other, axis)]
            y = str(self.one(fit))
            made = (*shape[:axis], shape[axis] + self.shapes[y][axis], *shape[axis + 1 :])
            self.put(f"Concat({x}, {y}, axis={axis})", made)

    def split(self) -> None:
        x = self.value(1, 2, 3, 4, 5)
        if x:
            shape = self.shapes[x]
            axis = self.number(0, len(shape) - 1)
            first = self.number(0, shape[axis])
            one, two = self.name("v"), self.name("v")
            self.lines.append(f"{one}, {two} = Split({x}, {{{first},{shape[axis] - first}}}, axis={axis})")
            for name, size in ((one, first), (two, shape[axis] - first)):
                self.shapes[name] = (*shape[:axis], size, *shape[axis + 1 :])

    def slice(self) -> None:
        x = self.value(1, 2, 3, 4, 5)
        if x:
            shape = self.shapes[x]
            axis, step = self.number(0, len(shape) - 1), self.one([1, 1, 2, -1])
            start, end = self.number(0, shape[axis]), self.number(0, shape[axis])
            count = len(range(*slice(start, end, step).indices(shape[axis])))
            made = (*shape[:axis], count, *shape[axis + 1 :])
            self.put(f"Slice({x}, {{{start}}}, {{{end}}}, {{{axis}}}, {{{step}}})", made)

    def transpose(self) -> None:
        x = self.value(2, 3, 4, 5)
        if x:
            shape = self.shapes[x]
            rank = len(shape)
            last, first = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
            perm = self.one([last, first, self.draw(st.permutations(range(rank)))])
            self.put(f"Transpose({x}, perm={[*perm]})", tuple(shape[axis] for axis in perm))

    def reshape(self) -> None:
        x = self.value()
        factors = [p for size in self.shapes[x] for p in _primes(size)]
        made: list[int] = []
        for factor in factors:
            if made and self.number(0, 1):
                made[-1] *= factor
            else:
                made.append(factor)
        if 0 < len(made) <= 5 and 0 not in made:
            self.put(f"Reshape({x}, {{{','.join(map(str, made))}}})", tuple(made))

    def pad(self) -> None:
        x = self.value(1, 2, 3, 4, 5)
        if x:
            shape = self.shapes[x]
            pads = [self.number(0, 2) if self.number(0, 2) == 0 else 0 for _ in (*shape, *shape)]
            made = tuple(a + size + b for size, a, b in zip(shape, pads, pads[len(shape) :], strict=False))
            self.put(f"Pad({x}, {{{','.join(map(str, pads))}}}, {self.one([0.0, 1.5])})", made)

    def matrix(self) -> None:
        x = self.value(2, 3, 4)
        if x:
            *rows, columns = self.shapes[x]
            out = self.number(1, 19)
            if columns:
                self.put(f"MatMul({x}, {self.weights(columns, out)})", (*rows, out))

    def product(self) -> None:
        x = self.value(2, 3, 4)
        if x and 0 not in self.shapes[x]:
            turned, shape = self.name("v"), self.shapes[x]
            perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            self.lines.append(f"{turned} = Transpose({x}, perm={perm})")
            self.put(f"MatMul({x}, {turned})", (*shape[:-1], shape[-2]))

    def rows(self) -> None:
        x = self.value(2, 3, 4, 5)
        if x and 0 not in self.shapes[x]:
            axis = self.number(1, len(self.shapes[x]) - 1)
            c = self.shapes[x][-1]
            call = f"LayerNormalization({x}, {self.weights(c)}, {self.weights(c)})"
            self.put(str(self.one([f"Softmax({x}, axis={axis})", call])), self.shapes[x])

    def mean(self) -> None:
        x = self.value(2, 3, 4)
        if x and 0 not in self.shapes[x]:
            shape = self.shapes[x]
            axis = self.number(0, len(shape) - 1)
            made = (*shape[:axis], 1, *shape[axis + 1 :])
            self.put(f"{self.one(['ReduceMean', 'ReduceMax'])}({x}, axes=[{axis}], keepdims=1)", made)


def _meet(one: Shape, other: Shape) -> Shape | None:
    """What two shapes broadcast to."""
    rank = max(len(one), len(other))
    pairs = [*zip((1,) * (rank - len(one)) + one, (1,) * (rank - len(other)) + other, strict=True)]
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        return None
    return tuple(b if a == 1 else a for a, b in pairs)


def _beside(one: Shape, other: Shape, axis: int) -> bool:
    return len(one) == len(other) and all(
        a == b or place == axis for place, (a, b) in enumerate(zip(one, other, strict=True))
    )


def _primes(size: int) -> list[int]:
    found, at = [], 2
    while size > 1:
        while size % at == 0:
            found.append(at)
            size //= at
        at += 1
    return found or [size]


_OPERATORS = [name for name, f in vars(_Writer).items() if callable(f) and not name.startswith("_")]
_OPERATORS = [name for name in _OPERATORS if name not in ("number", "one", "value", "image", "name", "weights", "put")]


@st.composite
def networks(draw: st.DrawFn, operators: int = 12) -> Graph:
    """A network of up to so many operators on one or two inputs; its last value and some others are outputs."""
    dims = st.sampled_from(
        [(1, 5, 6, 7), (3, 4, 5, 3), (2, 9, 4, 4), (1, 3, 11), (2, 7), (3, 5, 8), (), (1, 8, 1, 1), (0, 3)]
    )
    inputs = {f"x{place}": shape for place, shape in enumerate(draw(st.lists(dims, min_size=1, max_size=2)))}
    writer = _Writer(draw, inputs, shapes=dict(inputs))
    for name in draw(st.lists(st.sampled_from(_OPERATORS), min_size=3, max_size=operators)):
        getattr(writer, name)()
    writer.unary()
    made = [name for name in writer.shapes if name not in inputs]
    outputs = dict.fromkeys([made[-1], *draw(st.lists(st.sampled_from(made), max_size=3))])
    sides = [f"{name}[{','.join(map(str, shape))}]" for name, shape in inputs.items()]
    body = "\n".join(writer.lines)
    return parse(f"{', '.join(sides)} -> {', '.join(outputs)} {{\n{body}\n}}", seed=draw(st.integers(0, 3)))
