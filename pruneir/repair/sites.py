"""What can be repaired of a pruned network: linear operators and BatchNormalizations downstream of a cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pruneir.calibrate.linear import LINEAR, Matrix, matrix_of
from pruneir.constants import carrier
from pruneir.graph import Graph, Operator
from pruneir.pipeline.passes import Kept, Uncut


@dataclass(frozen=True, slots=True)
class Site:
    """An operator of the pruned network whose inputs are not what they were.

    value   what it computes, by name
    source  what it reads
    target  the value of the uncut network that its output should be; for a norm, the input that it then had
    kept    positions of the target's channels that are left
    axis    of the channels: 1 or −1
    tied    values of all operators that read the same weight, itself included; empty for a norm
    alone   why the weight cannot be refitted; empty if it can
    """

    value: str
    source: str
    target: str
    kept: np.ndarray
    axis: int = 1
    tied: tuple[str, ...] = ()
    alone: str = ""

    @property
    def is_linear(self) -> bool:
        """Whether it has a weight to refit; else it is a BatchNormalization."""
        return bool(self.tied)


@dataclass(slots=True)
class Sites:
    """In topological order; and what is left as it is, by reason."""

    sites: list[Site] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def notes(self) -> Iterator[str]:
        """What was left, a line for each reason."""
        for reason, names in self.left.items():
            shown = ", ".join(f"'{name}'" for name in names[:3]) + (", …" if len(names) > 3 else "")
            yield f"left as {'it is' if len(names) == 1 else 'they are'}: {shown}: {reason}"


def find_sites(graph: Graph, uncut: Uncut) -> Sites:
    """Every operator that repair can do something about."""
    return _Search(graph, uncut.graph, uncut.kept()).run()


def downstream(graph: Graph, kept: Kept) -> set[str]:
    """The values that lost positions, and all that is computed from them."""
    found: set[str] = set()
    for operator in graph.operators:
        found.update(name for name in operator.inputs if name in kept)
        if not found.isdisjoint((*operator.inputs, *operator.captures)) or not kept.keys().isdisjoint(operator.outputs):
            found.update(filter(None, operator.outputs))
    return found - graph.initializers.keys()


@dataclass(slots=True)
class _Search:
    graph: Graph
    uncut: Graph
    kept: Kept
    found: Sites = field(default_factory=Sites)

    def run(self) -> Sites:
        affected = downstream(self.graph, self.kept)
        readers = [op for op in self.graph.operators if op.inputs and op.inputs[0] in affected]
        linear = {op.outputs[0]: op for op in readers if op.is_a(*LINEAR) and self._has_weight(op, affected)}
        tied = self._tied(linear)
        for operator in readers:
            if operator.outputs[0] in linear:
                self._linear(operator, tied)
            elif operator.is_a("BatchNormalization"):
                self._norm(operator)
        return self.found

    def _has_weight(self, operator: Operator, affected: set[str]) -> bool:
        """Whether an operator multiplies by something that is no activation."""
        if operator.is_a("MatMul", "Gemm"):
            return operator.inputs[1] not in affected and self.graph.constant(operator.inputs[1]) is not None
        return True

    def _tied(self, linear: Mapping[str, Operator]) -> dict[str, tuple[str, ...]]:
        """The operators of each weight; none where others than the given read it too."""
        found = {}
        for name in {operator.inputs[1] for operator in linear.values()}:
            uses = self.graph.uses(name)
            if name not in self.graph.outputs and all(
                slot == 1 and operator.outputs[0] in linear for operator, slot in uses
            ):
                found[name] = tuple(operator.outputs[0] for operator, _ in uses)
        return found

    def _linear(self, operator: Operator, tied: Mapping[str, tuple[str, ...]]) -> None:
        matrix = matrix_of(self.graph, operator)
        if isinstance(matrix, str):
            self.found.left[matrix].append(operator.label)
            return
        target = self._target(operator, matrix)
        axis = 1 if matrix.is_convolution else -1
        positions = self._positions(target, axis, matrix.channels)
        if isinstance(positions, str):
            self.found.left[positions].append(operator.label)
            return
        together = tied.get(operator.inputs[1], ())
        alone = "" if together else f"its weight '{operator.inputs[1]}' is read elsewhere too"
        if alone:
            self.found.left[alone].append(operator.label)
        value = operator.outputs[0]
        self.found.sites.append(Site(value, operator.inputs[0], target, positions, axis, together or (value,), alone))

    def _target(self, operator: Operator, matrix: Matrix) -> str:
        """The operator's output, or what it is called after an Add of a constant."""
        found = carrier(self.graph, operator, matrix.channels)
        behind = found is not None and found.operator.is_a("Add")
        return found.operator.outputs[0] if found is not None and behind else operator.outputs[0]

    def _norm(self, operator: Operator) -> None:
        parameters = [self.graph.constant(name) for name in operator.inputs[1:5]]
        if operator.attribute("training_mode", 0) or not operator.attribute("spatial", 1):
            return
        if any(array is None for array in parameters):
            self.found.left["its statistics are computed at run time"].append(operator.label)
            return
        assert parameters[3] is not None
        positions = self._positions(operator.inputs[0], 1, parameters[3].size)
        if isinstance(positions, str):
            self.found.left[positions].append(operator.label)
            return
        self.found.sites.append(Site(operator.outputs[0], operator.inputs[0], operator.inputs[0], positions))

    def _positions(self, name: str, axis: int, channels: int) -> np.ndarray | str:
        """The channels that are left of a value of the uncut network, or why that cannot be told."""
        if self.uncut.producer(name) is None and name not in self.uncut.inputs:
            return "the uncut network has no such value"
        axes = dict(self.kept.get(name, {}))
        positions = axes.pop(max(axes, default=axis) if axis < 0 else axis, np.arange(channels))
        if axes or len(positions) != channels:
            return "its output lost other positions than channels"
        return np.asarray(positions)
