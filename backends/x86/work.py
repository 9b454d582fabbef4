"""What computes one operator: kernels with their weights, and how rules that find them are registered.

A rule looks at one operator with its shapes and gives the `Work` that computes it, or None where it does not serve:
then TVM does. Activations of rank 3 and more have their channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx

from pruneir.backends.x86.cpu import X86Cpu
from pruneir.backends.x86.expressions import Place
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes
from pruneir.storage import Storage

MEMORY = 11
"""Bytes of weights that come in a cycle besides what is computed meanwhile. Measured on Zen 3."""


class Kernel(Protocol):
    """A template with the sizes of one layer."""

    @property
    def items(self) -> int:
        """Shares of work for threads."""

    @property
    def scratch(self) -> int:
        """Bytes that each thread needs."""

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic on one core, with all that it reads in the second level of cache."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that it reads."""

    def source(self, name: str, finish: str) -> str:
        """Its text, from its name and the C of the function `<name>_finish`."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A kernel, and its weights.

    schedule  what a table says of it
    weights   packed as it reads them, when they are asked for; None for a kernel without
    storage   of the weights, where leaving out their zeros was considered
    """

    kernel: Kernel
    schedule: str
    weights: Callable[[], np.ndarray] | None = None
    macs: int = 0
    storage: Storage | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """The kernels of one operator.

    data    the value that they read
    place   the value that they make, each a part of it
    bias    added to each channel before all else
    last    whether they read data with channels last
    others  further values that they read, as ONNX has them
    """

    data: str
    place: Place
    phases: tuple[Phase, ...]
    bias: np.ndarray | None = None
    last: bool = True
    others: tuple[str, ...] = ()

    @property
    def cycles(self) -> float:
        """Estimated, of the arithmetic of all."""
        return sum(phase.kernel.cycles for phase in self.phases)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that all read."""
        return sum(phase.kernel.weight_bytes for phase in self.phases)


@dataclass(frozen=True, slots=True)
class Setting:
    """What rules look at."""

    graph: Graph
    shapes: Shapes
    cpu: X86Cpu

    def shape(self, operator: Operator, slot: int = 0) -> tuple[int, ...] | None:
        """The shape of an input, if it is float32."""
        name = operator.inputs[slot] if slot < len(operator.inputs) else ""
        return self.shapes.shape(name) if name and self.shapes.elem_type(name) == onnx.TensorProto.FLOAT else None

    def constant(self, operator: Operator, slot: int) -> np.ndarray | None:
        """A constant input."""
        return self.graph.constant(operator.inputs[slot]) if given(operator, slot) else None


def given(operator: Operator, slot: int) -> bool:
    """Whether an operator has this input."""
    return slot < len(operator.inputs) and bool(operator.inputs[slot])


Rule = Callable[[Operator, Setting], Work | None]
_RULES: dict[str, Rule] = {}


def rule(*types: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators of these types."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(types, function))
        return function

    return register


def found_by_rule(operator: Operator, setting: Setting) -> Work | None:
    """The kernel for an operator; None if there is none."""
    if not operator.is_a(*_RULES) or len([o for o in operator.outputs if o]) != 1:
        return None
    return _RULES[operator.type](operator, setting)


def output(operator: Operator, setting: Setting) -> tuple[int, ...]:
    """The shape of its first output."""
    shape = setting.shapes.shape(operator.outputs[0])
    assert shape is not None
    return shape
