"""Plain operators in the place of one that is not compiled as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from typing import Any

import numpy as np

from pruneir.graph import Graph, Operator

_PARTS = 32
"""Values that one operator splits up or joins: kernels get each as an argument, and look for the one they are at."""


@dataclass(slots=True)
class Writer:
    """Operators and constants that are to stand in the place of one."""

    graph: Graph
    label: str
    made: list[Operator] = field(default_factory=list)

    def call(self, kind: str, *inputs: str, to: str = "", name: str = "", **attributes: Any) -> str:
        """The value that an operator makes, which is called `to` if that is given."""
        value = to or self._fresh()
        self.made.append(Operator(kind, inputs, (value,), attributes, name or self._name))
        return value

    def _fresh(self) -> str:
        return self.graph.fresh_name(self._name)

    @property
    def _name(self) -> str:
        """That of the next operator."""
        return f"{self.label}/{len(self.made)}"

    def constant(self, array: np.ndarray) -> str:
        """The name of a constant."""
        name = self.graph.fresh_name(f"{self.label}/constant")
        self.graph.set_initializer(name, np.ascontiguousarray(array))
        return name

    def affine(self, x: str, matrix: np.ndarray, bias: np.ndarray) -> str:
        """x · matrix + bias."""
        product = self.call("MatMul", x, self.constant(matrix))
        return self.call("Add", product, self.constant(bias)) if bias.any() else product

    def part(self, value: str, starts: Sequence[int], shape: Sequence[int], to: str = "") -> str:
        """The box of a value that begins there and has this shape."""
        bounds = [tuple(starts), tuple(start + size for start, size in zip(starts, shape, strict=True))]
        if self.graph.opset() >= 10:
            return self.call("Slice", value, *(self.constant(np.array(each, np.int64)) for each in bounds), to=to)
        return self.call("Slice", value, to=to, starts=bounds[0], ends=bounds[1])

    def cast(self, value: str, kind: int) -> str:
        """The value as numbers of another type, an `onnx.TensorProto` enum value."""
        self.made.append(Operator("Cast", (value,), (made := self._fresh(),), {"to": kind}, self._name))
        return made

    def number(self, value: float) -> str:
        """The name of a number."""
        return self.constant(np.array(value, np.float32))

    def reduced(self, kind: str, value: str, axis: int) -> str:
        """One entry for all along an axis."""
        if self.graph.opset() >= 18:
            return self.call(kind, value, self.constant(np.array([axis], np.int64)), keepdims=1)
        return self.call(kind, value, axes=(axis,), keepdims=1)

    def shaped(self, value: str, shape: Sequence[int], to: str = "") -> str:
        """The same numbers in another shape."""
        return self.call("Reshape", value, self.constant(np.array(shape, np.int64)), to=to)

    def split(self, value: str, count: int) -> list[str]:
        """The parts of a value along its first axis, each of one entry."""
        step = _step(count)
        sizes = [min(step, count - start) for start in range(0, count, step)]
        if len(sizes) == 1:
            return [value]
        outputs = tuple(self.graph.fresh_name(f"{self._name}.{index}") for index in range(len(sizes)))
        given = self.graph.opset() >= 13
        inputs = (value, self.constant(np.array(sizes, np.int64))) if given else (value,)
        attributes = {"axis": 0} if given else {"axis": 0, "split": tuple(sizes)}
        self.made.append(Operator("Split", inputs, outputs, attributes, self._name))
        return [part for output, size in zip(outputs, sizes, strict=True) for part in self.split(output, size)]

    def joined(self, values: Sequence[str], axis: int) -> str:
        """Values side by side."""
        step = _step(len(values))
        if step > 1:
            values = [self.joined(values[start : start + step], axis) for start in range(0, len(values), step)]
        return values[0] if len(values) == 1 else self.call("Concat", *values, axis=axis)


def _step(count: int) -> int:
    """How many of so many parts are taken together first."""
    return 1 if count <= _PARTS else ceil(sqrt(count))
