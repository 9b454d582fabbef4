"""LSTM, GRU and RNN as plain operators, written out step by step: where sizes are fixed, sequences have one length.

    x·Wᵍ + bᵍ          of each gate g one product for all steps, split
    f(h·Rᵍ + xₜᵍ)      a gate at a step: a product, and elementwise operators that finish it

Every gate is a product of its own, so that its kernel finishes it before it is stored, and all steps call the same
kernels. Values are [1, batch, hidden]; gates are in ONNX's order: i, o, f, c of an LSTM, z, r, h of a GRU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.backends.lowering.writer import Writer
from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes, infer

State = tuple[str, ...]
"""What a step hands to the next; the first is what the layer puts out."""
Activation = tuple[str, Mapping[str, float]]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULT = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
_ACTIVATIONS: Mapping[str, Activation] = {
    name.lower(): (name, values)
    for name, values in {
        "Sigmoid": {},
        "Tanh": {},
        "Relu": {},
        "Softsign": {},
        "Softplus": {},
        "LeakyRelu": {"alpha": 0.01},
        "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
        "Elu": {"alpha": 1.0},
    }.items()
}


def written_out(graph: Graph) -> Graph:
    """The graph, or a copy without recurrent layers. PruneirError, one line, for one that is not compiled."""
    found = [operator for operator in graph.operators if operator.is_a(*_GATES)]
    if not found:
        return graph
    shapes, whole = infer(graph), graph.copy()
    for operator in found:
        layer = _Layer(operator, graph, shapes)
        layer.require_usual()
        whole.replace(operator, *layer.operators(whole))
    return whole


@dataclass(slots=True)
class _Direction:
    """One direction of a layer.

    x      x·W + b, by gate and step
    r      R of each gate, transposed
    late   what is added to the last gate's product with h before the reset gate scales it; None: that scales h
    f      its activations
    """

    writer: Writer
    x: list[list[str]]
    r: list[str]
    late: str | None
    f: Sequence[Activation]

    def gate(self, step: int, place: int, h: str, f: int) -> str:
        """A gate at a step."""
        return self.activated(f, self._add(self._product(h, place), self.x[place][step]))

    def activated(self, f: int, value: str) -> str:
        """f(value)."""
        kind, values = self.f[f]
        return self.writer.call(kind, value, **values)

    def lstm(self, step: int, state: State) -> State:
        """c ← f·c + i·g, h ← o·tanh(c)."""
        h, c = state
        i, o, f = (self.gate(step, place, h, 0) for place in range(3))
        c = self._add(self._mul(f, c), self._mul(i, self.gate(step, 3, h, 1)))
        return self._mul(o, self.activated(2, c)), c

    def gru(self, step: int, state: State) -> State:
        """h ← n + z·(h − n)."""
        (h,) = state
        z, r = (self.gate(step, place, h, 0) for place in range(2))
        if self.late is None:
            n = self.gate(step, 2, self._mul(r, h), 1)
        else:
            product = self._add(self._product(h, 2), self.late) if self.late else self._product(h, 2)
            n = self.activated(1, self._add(self._mul(r, product), self.x[2][step]))
        return (self._add(n, self._mul(z, self.writer.call("Sub", h, n))),)

    def rnn(self, step: int, state: State) -> State:
        """h ← tanh(h·R + x)."""
        return (self.gate(step, 0, state[0], 0),)

    def _product(self, h: str, place: int) -> str:
        return self.writer.call("MatMul", h, self.r[place])

    def _add(self, one: str, other: str) -> str:
        return self.writer.call("Add", one, other)

    def _mul(self, one: str, other: str) -> str:
        return self.writer.call("Mul", one, other)


_CELLS = {"LSTM": _Direction.lstm, "GRU": _Direction.gru, "RNN": _Direction.rnn}


@dataclass(frozen=True, slots=True)
class _Layer:
    """A recurrent operator, and the graph that it is in."""

    operator: Operator
    graph: Graph
    shapes: Shapes

    def require_usual(self) -> None:
        """PruneirError for what is not written out."""
        shape, lengths, peepholes = self.shapes.shape(self._input(0)), self._constant(4), self._constant(7)
        if shape is None:
            raise self._refused("a sequence whose length depends on the data", "end the exported graph in front of it")
        if any(self._input(place) and self._constant(place) is None for place in (1, 2, 3)):
            raise self._refused("a layer whose weights are computed", "export them as constants")
        if self._input(4) and (lengths is None or (lengths != shape[0]).any()):
            raise self._refused("a batch of sequences of several lengths", "export it without sequence_lens")
        if self._input(7) and (peepholes is None or peepholes.any()):
            raise self._refused("a cell with peepholes", "export it without")
        for name in ("clip", "input_forget", "layout"):
            if self.operator.attribute(name):
                raise self._refused(f"the attribute {name}", "export it without")
        for name in self.operator.attribute("activations", ()):
            if name.lower() not in _ACTIVATIONS:
                raise self._refused(f"the activation {name}", "export it with Sigmoid, Tanh, Relu or another usual one")

    def operators(self, whole: Graph) -> list[Operator]:
        """What stands in its place in a graph."""
        writer = Writer(whole, self.operator.label)
        shape = self.shapes.shape(self._input(0))
        assert shape is not None
        steps, batch, _ = shape
        count, _, hidden = self._weights(2).shape
        initial = [self._initial(writer, place, (count, batch, hidden)) for place in _STATES[self.operator.type]]
        outputs, states = [], []
        for index in range(count):
            state: State = tuple(each[index] for each in initial)
            made, cell = [""] * steps, _CELLS[self.operator.type]
            direction = self._direction(writer, index, steps)
            for step in range(steps)[:: -1 if index or self._is_reverse else 1]:
                state = cell(direction, step, state)
                made[step] = state[0]
            if self._is_read(self.operator.outputs[0]):
                outputs.append(writer.shaped(writer.joined(made, 0), (steps, 1, batch, hidden)))
            states.append(state)
        results = [writer.joined(outputs, 1) if outputs else ""]
        results += [writer.joined(each, 0) for each in zip(*states, strict=True)]
        for name, value in zip(self.operator.outputs, results, strict=False):
            if self._is_read(name):
                writer.call("Identity", value, to=name)
        return writer.made

    def _direction(self, writer: Writer, index: int, steps: int) -> _Direction:
        gates = _GATES[self.operator.type]
        w, r = (np.split(self._weights(place)[index], gates) for place in (1, 2))
        hidden = r[0].shape[1]
        given = self._weights(3)[index] if self._input(3) else np.zeros(2 * gates * hidden, w[0].dtype)
        outer, inner = given.reshape(2, gates, hidden)
        late = None
        if self.operator.type == "GRU" and self.operator.attribute("linear_before_reset", 0):
            late = writer.constant(inner[2]) if inner[2].any() else ""
            inner = inner * np.array([[1], [1], [0]], inner.dtype)
        parts = [
            writer.split(writer.affine(self._input(0), w[gate].T, outer[gate] + inner[gate]), steps)
            for gate in range(gates)
        ]
        return _Direction(writer, parts, [writer.constant(each.T) for each in r], late, self._activations(index))

    def _activations(self, index: int) -> list[Activation]:
        """Of one direction; those that have parameters take the next of the operator's, or their own."""
        names = [name.lower() for name in self.operator.attribute("activations", ())]
        default = _DEFAULT[self.operator.type]
        names = names or [name.lower() for name in default * 2]
        given = {key: list(self.operator.attribute(f"activation_{key}", ())) for key in ("alpha", "beta")}
        found: list[Activation] = []
        for name in names:
            kind, values = _ACTIVATIONS[name]
            found.append((kind, {k: float(given[k].pop(0)) if given[k] else v for k, v in values.items()}))
        return found[index * len(default) :][: len(default)]

    def _initial(self, writer: Writer, place: int, shape: tuple[int, int, int]) -> list[str]:
        """A state of each direction in front of its first step."""
        if not self._input(place):
            return [writer.constant(np.zeros((1, *shape[1:]), self._weights(2).dtype))] * shape[0]
        return writer.split(self._input(place), shape[0])

    @property
    def _is_reverse(self) -> bool:
        return self.operator.attribute("direction", "forward") == "reverse"

    def _is_read(self, output: str) -> bool:
        return bool(output) and (output in self.graph.outputs or bool(self.graph.users(output)))

    def _input(self, place: int) -> str:
        return self.operator.inputs[place] if place < len(self.operator.inputs) else ""

    def _constant(self, place: int) -> np.ndarray | None:
        return self.graph.constant(self._input(place)) if self._input(place) else None

    def _weights(self, place: int) -> np.ndarray:
        found = self._constant(place)
        assert found is not None
        return found

    def _refused(self, what: str, remedy: str) -> PruneirError:
        return PruneirError(f"{self.operator.label} ({self.operator.type}): {what} is not compiled; {remedy}")
