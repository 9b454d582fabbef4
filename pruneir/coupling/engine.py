"""The engine: every operator's rule in topological order, and locks on all that no rule spoke of.

Operators know nothing of each other; what couples the first convolution to the last is only that the labels of a value
are handed from its producer to its readers. Reading the graph takes one pass, near-linear in operators and channels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from pruneir.coupling import labels as lab
from pruneir.coupling import rules as _rules  # noqa: F401  (fills the table of rules)
from pruneir.coupling.generators import Generators
from pruneir.coupling.labels import Labels
from pruneir.coupling.rule import RULES, Cut, Edit, MacTerm, Op, Reading, Refused, Said, State, Tensor, locked
from pruneir.coupling.signs import Signs
from pruneir.coupling.words import INTERFACE
from pruneir.errors import Refusal
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes, infer


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """One operator's use of one constant: labels and role (`in`, `out`, `scale`, …) per axis."""

    operator: Operator
    slot: int
    name: str
    labels: tuple[Labels, ...]
    roles: Mapping[int, str]


@dataclass(slots=True, eq=False)
class Traced:
    """What the rules said of a graph."""

    graph: Graph
    shapes: Shapes
    generators: Generators
    values: dict[str, State] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    edits: list[tuple[Operator, list[Callable[[Cut], Edit]]]] = field(default_factory=list)
    macs: list[MacTerm] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    """Axes that operators sum over: of activations, or of the first constant where there are none."""
    refusals: list[Refusal] = field(default_factory=list)
    """Operators that no rule understood."""
    opened: list[Operator] = field(default_factory=list)
    """Operators whose statistics `cut_norms` allowed to change."""


def trace(graph: Graph, shapes: Shapes | None = None, **options: bool) -> Traced:
    """Run the rules over a graph. `options` open what is locked by default (`cut_norms`)."""
    traced = Traced(graph, shapes or infer(graph), Generators())
    engine = _Engine(traced, options)
    for name in graph.inputs:
        if name not in graph.initializers:
            engine.admit(name)
    for operator in graph.operators:
        if not operator.is_a("Constant"):
            engine.visit(operator)
    for name in graph.outputs:
        remedy = _DROP if graph.users(name) else ""
        engine.lock_value(name, Refusal("PIR001", name, INTERFACE.format("output"), remedy))
    engine.tie_shared()
    engine.lock_whole_axes()
    return traced


_DROP = "If nobody needs it, drop it from the graph's outputs"
_REGISTER = "Prune around it, or register a rule for it"


class _ShapeUnknown(Refused):
    """An operator around which a shape is not known, for want of that of some value before it."""

    def __init__(self, value: str):
        remedy = f"Declare the shape of '{value}' in the file, or fix sizes with --input-shape"
        super().__init__(f"shapes are not known from '{value}' on", remedy, "PIR007")
        self.value = value

    def words(self, kind: str) -> str:
        """The reason, the same for all operators behind that value."""
        return self.reason


def _no_rule(operator: Operator) -> Refused:
    bodies = [value for value in operator.attributes.values() if isinstance(value, onnx.AttributeProto)]
    if any(body.HasField("g") or body.graphs for body in bodies):
        return Refused("runs a subgraph, which is not looked into", "", "PIR006")
    where = f"of domain '{operator.domain}' " if operator.domain else ""
    return Refused(f"{where}has no coupling rule", _REGISTER, "PIR002")


class _Engine:
    def __init__(self, traced: Traced, options: Mapping[str, bool]):
        self.traced = traced
        self.graph, self.shapes, self.generators = traced.graph, traced.shapes, traced.generators
        self.options = options
        self.signs = Signs(traced.graph)
        self.opsets: dict[str, int] = {}
        self.constants = constants(traced.graph)
        self.lost: dict[str, str] = {}
        """The first value without a known shape, by value that has none because of it."""

    def admit(self, name: str) -> None:
        """A graph input: every axis stays, since the caller feeds it."""
        shape = self.shapes.shape(name)
        if shape is not None:
            reason = Refusal("PIR001", name, INTERFACE.format("input"))
            self.traced.values[name] = State([locked(self.generators, n, reason) for n in shape], [False] * len(shape))

    def visit(self, operator: Operator) -> None:
        """Let the operator's rule speak, then lock what it left out."""
        opset = self._opset(operator.domain)
        op = Op(operator, self.generators, opset, self.options, self._read_positions, self.signs.positive)
        rule = RULES.get(("" if operator.domain == "ai.onnx" else operator.domain, operator.type))
        self.generators.at = operator.label
        for name in operator.captures:
            self.lock_value(name, Refusal("PIR006", operator.label, f"a subgraph of {operator.type} reads '{name}'"))
        try:
            op.inputs = [self._input(op, name) for name in operator.inputs]
            if rule is None:
                raise _no_rule(operator)
            op.outputs = [self._output(op, name) for name in operator.outputs]
            rule(op)
        except Refused as refused:
            self._refuse(op, refused)
        self._finish(op)

    def lock_value(self, name: str, refusal: Refusal) -> None:
        """Lock every axis of a value that something outside the rules reads."""
        state = self.traced.values.get(name)
        for labels in state.labels if state else ():
            if labels is not None and not labels.is_data:
                self.generators.lock(labels.base, refusal)
        if name in self.constants:
            self._use_whole(Operator("", (name,), ()), -1, name, refusal)

    def tie_shared(self) -> None:
        """A matrix that several operators read is cut by all of them alike; vectors may be copied per use instead."""
        by_name: dict[str, list[Use]] = defaultdict(list)
        for use in self.traced.uses:
            by_name[use.name].append(use)
        for name, uses in by_name.items():
            self.generators.at = name
            for use in uses[1:] if len(uses[0].labels) > 1 else ():
                for one, other in zip(uses[0].labels, use.labels, strict=True):
                    lab.tie(self.generators, one, other)

    def lock_whole_axes(self) -> None:
        """A class that is all of some axis stays: without it nothing of the axis would be left."""
        axes = {id(labels): (use.operator.label, labels) for use in self.traced.uses for labels in use.labels}
        for name, state in self.traced.values.items():
            axes |= {id(known): (name, known) for known in state.labels if known is not None}
        for self.generators.at, labels in axes.values():
            if len(labels) > 1 and not labels.is_data:
                self.generators.lock_whole(labels.base)

    # Inside

    def _opset(self, domain: str) -> int:
        if domain not in self.opsets:
            self.opsets[domain] = self.graph.opset(domain)
        return self.opsets[domain]

    def _read_positions(self, name: str, length: int) -> set[int]:
        """The positions of a one-dimensional value that its readers use: those that a Gather names, else all."""
        used: set[int] = set()
        for user in self.graph.users(name):
            at = self.shapes.value(user.inputs[1]) if user.is_a("Gather") and user.inputs[0] == name else None
            used |= set(range(length)) if at is None else {int(i) % length for i in at.flat}
        return used | (set(range(length)) if name in self.graph.outputs else set())

    def _input(self, op: Op, name: str) -> Tensor | None:
        if not name:
            return None
        constant = name in self.constants
        if constant:
            shape: tuple[int, ...] = self.constants[name].shape
            state = State([None] * len(shape), [True] * len(shape))
        else:
            known = self.shapes.shape(name)
            if known is None or name not in self.traced.values:
                raise _ShapeUnknown(self.lost.get(name, name))
            shape, state = known, self.traced.values[name]
        return Tensor(op, name, shape, state, constant, self.shapes.value(name))

    def _output(self, op: Op, name: str) -> Tensor | None:
        if not name:
            return None
        shape = self.shapes.shape(name)
        if shape is None and not self.graph.users(name) and name not in self.graph.outputs:
            return None
        if shape is None:
            raise _ShapeUnknown(next((self.lost[n] for n in op.operator.inputs if n in self.lost), name))
        state = State([None] * len(shape), [False] * len(shape))
        return Tensor(op, name, shape, state, False, self.shapes.value(name))

    def _refuse(self, op: Op, refused: Refused) -> None:
        """Lock everything around an operator that was not understood."""
        refusal = Refusal(refused.code, op.operator.label, refused.words(op.type), refused.remedy)
        self.traced.refusals.append(refusal)
        op.said = Said()
        for slot, name in enumerate(op.operator.inputs):
            if name in self.constants:
                self._use_whole(op.operator, slot, name, refusal)
            elif name:
                self.lock_value(name, refusal)
        for name in filter(None, op.operator.outputs):
            shape = self.shapes.shape(name)
            if shape is not None:
                kept_out: list[Labels | None] = [locked(self.generators, n, refusal) for n in shape]
                self.traced.values[name] = State(kept_out, [False] * len(shape))
            else:
                self.lost[name] = refused.value if isinstance(refused, _ShapeUnknown) else name
        op.inputs, op.outputs = [], []

    def _use_whole(self, operator: Operator, slot: int, name: str, refusal: Refusal) -> None:
        kept = tuple(locked(self.generators, n, refusal) for n in self.constants[name].shape)
        self.traced.uses.append(Use(operator, slot, name, kept, {}))

    def _finish(self, op: Op) -> None:
        """Lock untouched inputs, make untouched outputs data, and keep what the rule said."""
        for slot, tensor in enumerate(op.inputs):
            if tensor is None:
                continue
            for axis in tensor.axes:
                if tensor.constant and not axis.assigned:
                    axis.assign(lab.data(axis.length), True)
                elif axis.index not in tensor.touched and op.can_die(axis.labels):
                    op.lock(axis, reason=f"reads axis {axis.index} of '{tensor.name}' as a whole")
            if tensor.constant:
                labels = tuple(axis.labels for axis in tensor.axes)
                self.traced.uses.append(Use(op.operator, slot, tensor.name, labels, tensor.roles))
        for tensor in filter(None, op.outputs):
            for axis in tensor.axes:
                if not axis.assigned:
                    axis.assign(lab.data(axis.length), False)
            self.traced.values[tensor.name] = tensor.state
        if op.said.edits:
            self.traced.edits.append((op.operator, op.said.edits))
        self.traced.macs += op.said.macs
        activations = [axis for axis in op.said.summed if not axis.tensor.constant]
        for axis in activations or op.said.summed[:1]:
            slot = op.inputs.index(axis.tensor)
            self.traced.readings.append(Reading(op.operator, slot, axis.index, axis.labels))
        if op.said.opened:
            self.traced.opened.append(op.operator)


def constants(graph: Graph) -> dict[str, np.ndarray]:
    """Every constant tensor by name: initializers, and what Constant operators hold."""
    held = {op.outputs[0]: graph.constant(op.outputs[0]) for op in graph.operators if op.is_a("Constant")}
    return {**graph.initializers, **{name: array for name, array in held.items() if array is not None}}
