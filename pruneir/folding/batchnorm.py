"""The search for linear operators beside BatchNormalizations, and the rewrite of what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.errors import Refusal
from pruneir.folding.affine import PLAIN, UNCHANGED, Affine, batch_norm, plain
from pruneir.folding.edit import only_user, remove_dead
from pruneir.folding.linear import LINEAR, Linear
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes, infer


@dataclass(frozen=True, slots=True)
class Folded:
    """What folding did.

    refusals  why the rest was not folded
    changed   initializers with new values
    follows   vectors that are gone, and the weight and axis whose channels they had
    """

    refusals: list[Refusal]
    changed: set[str]
    follows: dict[str, tuple[str, int]]


def fold_batch_norms(graph: Graph) -> Folded:
    """Fold what can be folded, in place."""
    folder = _Folder(graph)
    labels = [operator.outputs[0] for operator in graph.operators if operator.is_a("BatchNormalization")]
    refusals = []
    for output in labels:
        operator = graph.producer(output)
        if operator is not None and operator.is_a("BatchNormalization"):
            refusal = folder.fold(operator)
            refusals += [refusal] if refusal is not None else []
    remove_dead(graph)
    return Folded(
        refusals,
        {name for name in folder.changed if name in graph.initializers},
        {name: place for name, place in folder.follows.items() if name not in graph.initializers},
    )


@dataclass(frozen=True, slots=True)
class _Chain:
    """Affine operators in a row, in data order, and what they do together."""

    operators: tuple[Operator, ...]
    affine: Affine


class _Folder:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.changed: set[str] = set()
        self.follows: dict[str, tuple[str, int]] = {}
        self._shapes: Shapes | None = None

    def fold(self, norm: Operator) -> Refusal | None:
        """Fold one BatchNormalization; if that cannot be, why."""
        own = batch_norm(self.graph, norm)
        if isinstance(own, Refusal):
            return own
        behind = self._fold_behind(norm, own)
        if behind is None:
            return None
        before = self._fold_before(norm, own)
        if before is None:
            return None
        return before if behind.code == _NO_LINEAR else behind

    # y = BatchNormalization(Linear(x))

    def _fold_behind(self, norm: Operator, own: Affine) -> Refusal | None:
        found = self._above(norm)
        if isinstance(found, Refusal):
            return found
        operator, above = found
        rank = self._rank(operator, norm)
        linear = self._linear(operator, rank)
        if isinstance(linear, Refusal):
            return linear
        affine, value, channels = UNCHANGED, operator.outputs[0], linear.channels[1]
        for member in above:
            step = plain(self.graph, member, value, rank, channels)
            if step is None:
                return Refusal(_NO_LINEAR, norm.label, f"is behind {member}, which is not a scale or shift per channel")
            affine, value = affine.then(step), member.outputs[0]
        chain = self._below(norm, _Chain((*above, norm), affine.then(own)), rank, channels)
        self._follow(chain.operators, linear, linear.output_axis)
        self._write(linear.behind(chain.affine), operator.inputs[0], chain.operators[-1].outputs[0], chain.operators)
        return None

    def _above(self, norm: Operator) -> tuple[Operator, list[Operator]] | Refusal:
        """The linear operator that a BatchNormalization's input comes from, and what is in between."""
        value, reader, between = norm.inputs[0], norm, list[Operator]()
        while True:
            producer = self.graph.producer(value)
            if producer is None or not producer.is_a(*LINEAR, *PLAIN):
                source = "the graph input" if producer is None else f"{producer.type} {producer.label!r}"
                return Refusal(_NO_LINEAR, norm.label, f"is behind {source}, which has no weights to fold into")
            if only_user(self.graph, value) is not reader:
                reason = f"shares its input {value!r} with other readers or the graph's outputs"
                return Refusal("PIR021", norm.label, reason)
            if producer.is_a(*LINEAR):
                return producer, between
            between.insert(0, producer)
            operands = [name for name in producer.inputs if self.graph.constant(name) is None]
            if len(operands) != 1:
                reason = f"is behind {producer.type} {producer.label!r}, which has no weights to fold into"
                return Refusal(_NO_LINEAR, norm.label, reason)
            value, reader = operands[0], producer

    def _below(self, last: Operator, chain: _Chain, rank: int, channels: int) -> _Chain:
        """A chain, and the scales and shifts that follow it."""
        while True:
            value = last.outputs[0]
            user = only_user(self.graph, value)
            step = None if user is None else self._step(user, value, rank, channels)
            if user is None or step is None:
                return chain
            chain, last = _Chain((*chain.operators, user), chain.affine.then(step)), user

    def _step(self, operator: Operator, value: str, rank: int, channels: int) -> Affine | None:
        if operator.is_a("BatchNormalization") and operator.inputs[0] == value:
            found = batch_norm(self.graph, operator)
            return found if isinstance(found, Affine) else None
        return plain(self.graph, operator, value, rank, channels)

    # y = Linear(BatchNormalization(x))

    def _fold_before(self, norm: Operator, own: Affine) -> Refusal | None:
        nothing = Refusal(_NO_LINEAR, norm.label, "has no Conv, Gemm or MatMul before or behind it to fold into")
        user, between = only_user(self.graph, norm.outputs[0]), [norm]
        while user is not None and user.is_a("Identity"):
            between.append(user)
            user = only_user(self.graph, user.outputs[0])
        value = between[-1].outputs[0]
        if user is None or not user.is_a(*LINEAR) or user.inputs[0] != value:
            return nothing
        if user.is_a("Gemm") and user.attribute("transA", 0):
            return nothing
        linear = self._linear(user, self._rank(user, norm))
        if isinstance(linear, Refusal):
            return linear
        if not linear.is_exact_before(own):
            reason = f"is before {user.type} {user.label!r}, whose zero padding it does not shift"
            return Refusal("PIR022", norm.label, reason)
        self._follow(between, linear, linear.input_axis)
        self._write(linear.before(own), norm.inputs[0], user.outputs[0], tuple(between))
        return None

    # Weights

    def _rank(self, linear: Operator, norm: Operator) -> int:
        """The rank of a linear operator's output; of a MatMul, which does not tell, that of the BatchNormalization."""
        if linear.is_a("Gemm"):
            return 2
        if not linear.is_a("MatMul"):
            weight = self.graph.constant(linear.inputs[1])
            return 0 if weight is None else weight.ndim
        if self._shapes is None:
            self._shapes = infer(self.graph)
        return len(self._shapes.shape(norm.inputs[0]) or ())

    def _linear(self, operator: Operator, rank: int) -> Linear | Refusal:
        """A linear operator's weights, if they may be changed."""
        names = [name for name in operator.inputs[1:3] if name]
        arrays = [self.graph.constant(name) for name in names]
        if any(array is None for array in arrays):
            return Refusal("PIR023", operator.label, f"{operator.type} has weights that are computed at run time")
        weight, *bias = (array.astype(np.float64) for array in arrays if array is not None)
        if operator.is_a("MatMul") and (weight.ndim != 2 or rank != 2):
            return Refusal(_NO_LINEAR, operator.label, "MatMul has its channels on the last axis, not on axis 1")
        if len(self.graph.uses(names[0])) > 1 or names[0] in self.graph.outputs:
            reason = f"{operator.type} shares its weights {names[0]!r} with other operators"
            return Refusal("PIR020", operator.label, reason)
        return Linear(operator, weight, bias[0] if bias else None)

    def _follow(self, gone: Sequence[Operator], linear: Linear, axis: int | None) -> None:
        """Note which axis the vectors of operators that go had their channels from; None: none has them one by one."""
        weight = linear.operator.inputs[1]
        for name in (name for operator in gone for name in operator.inputs if axis is not None):
            array = self.graph.constant(name) if name else None
            if array is not None and axis is not None and array.shape == (linear.weight.shape[axis],):
                self.follows[name] = (weight, axis)

    def _write(self, linear: Linear, source: str, result: str, gone: tuple[Operator, ...]) -> None:
        """Put the new weights in, let the operator read `source` and make `result`, and take out what it replaces."""
        graph, operator = self.graph, linear.operator
        weight = operator.inputs[1]
        dtype = _dtype(graph, weight)
        self.changed.add(graph.define(weight, linear.weight.astype(dtype)))
        for each in gone:
            graph.remove(each)
        new = operator.with_input(0, source)
        if linear.bias is None:
            graph.replace(operator, new.with_(outputs=(result,)))
        elif operator.is_a("MatMul"):
            self._write_add(operator, new, linear.bias, result, gone)
        else:
            new = new.with_attributes(beta=None) if operator.is_a("Gemm") else new
            name = self._bias_name(operator, operator.inputs[2:3], 1)
            graph.replace(operator, new.with_input(2, name).with_(outputs=(result,)))
            self.changed.add(graph.define(name, linear.bias.astype(dtype)))

    def _write_add(
        self, operator: Operator, new: Operator, bias: np.ndarray, result: str, gone: tuple[Operator, ...]
    ) -> None:
        """MatMul(x, W) -> Add(MatMul(x, W), b); Add(MatMul(x, W), c) -> Add(MatMul(x, W), b + c)."""
        graph = self.graph
        adds = [each for each in gone if each.is_a("Add")]
        below = only_user(graph, result)
        step = None if below is None or not below.is_a("Add") else plain(graph, below, result, 2, bias.size)
        if below is not None and step is not None:
            adds, bias, result = [below], bias + step.shift, below.outputs[0]
            graph.remove(below)
        constants = [name for add in adds for name in add.inputs if name in graph.initializers]
        name = self._bias_name(operator, constants, 0)
        middle = operator.outputs[0] if operator.outputs[0] != result else graph.fresh_name(f"{operator.label}.product")
        label = adds[-1].name if adds else f"{operator.label}.add"
        graph.replace(operator, new.with_(outputs=(middle,)), Operator("Add", (middle, name), (result,), {}, label))
        self.changed.add(graph.define(name, bias.astype(_dtype(graph, operator.inputs[1]))))

    def _bias_name(self, operator: Operator, old: Sequence[str], uses: int) -> str:
        """The name for a new bias: that of an old one if nothing else reads it, which would be more than `uses`."""
        graph = self.graph
        alone = [name for name in old if name and name not in graph.outputs and len(graph.uses(name)) == uses]
        return alone[0] if alone else graph.fresh_name(f"{operator.label}.bias")


_NO_LINEAR = "PIR025"


def _dtype(graph: Graph, name: str) -> np.dtype[np.generic]:
    array = graph.constant(name)
    assert array is not None
    return array.dtype
