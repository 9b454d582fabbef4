"""A graph as a list of calls over numbered slots: everything that can be decided before a run is decided once.

For each set of wanted values there is a schedule: the calls that lead to them, and behind each the slots that nothing
reads any more. A run is one pass over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from pruneir import onnx_io
from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.graph.operator import free_names
from pruneir.training.ops import Call, Function, Mode, entry_of, together

_ABSENT = 0
"""The slot of an optional input or output that is not there."""
_WIDENED = {"uint16": np.int64, "uint32": np.int64, "uint64": np.int64}


@dataclass(frozen=True, slots=True)
class _Step:
    """One call: what to run, the slots that it reads and writes, and those that are free after it."""

    function: Function
    spread: bool
    call: Call
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    dead: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Schedule:
    sources: list[tuple[int, str]]
    steps: list[_Step]
    results: list[tuple[str, int]]
    slots: int


class Program:
    """What a graph computes, in torch. PruneirError at once where an output needs what cannot be run."""

    def __init__(self, graph: Graph, mode: Mode):
        self.graph = graph
        self.mode = mode
        self._bodies: dict[Operator, dict[str, Any]] = {}
        self._schedules: dict[tuple[str, ...], _Schedule] = {}
        self.schedule(graph.outputs)

    def run(self, given: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """The named values, from graph inputs and constants by name."""
        schedule = self.schedule(names)
        values: list[Any] = [None] * schedule.slots
        for slot, name in schedule.sources:
            if name not in given:
                raise PruneirError(f"the graph input {name!r} is not fed; give an array for it")
            values[slot] = given[name]
        device = self.mode.device
        for step in schedule.steps:
            inputs = [values[slot] for slot in step.reads]
            if device.type != "cpu" and not step.spread:
                inputs = together(inputs, device)
            try:
                made = step.function(step.call, *inputs)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, IndexError) as error:
                operator = step.call.operator
                reason = str(error).strip().splitlines()[0]
                raise PruneirError(f"{operator.type} (node '{operator.label}') cannot run: {reason}") from error
            if isinstance(made, (tuple, list)):
                for slot, value in zip(step.writes, made, strict=False):
                    values[slot] = value
                values[_ABSENT] = None
            else:
                values[step.writes[0]] = made
            for slot in step.dead:
                values[slot] = None
        return {name: values[slot] for name, slot in schedule.results}

    def schedule(self, names: Sequence[str]) -> _Schedule:
        """The calls that lead to these values."""
        key = tuple(names)
        if key not in self._schedules:
            self._schedules[key] = self._schedule(key)
        return self._schedules[key]

    def _schedule(self, names: tuple[str, ...]) -> _Schedule:
        slots: dict[str, int] = {"": _ABSENT}
        needed = self._leading_to(names)
        steps, sources = [], []
        last: dict[str, int] = {}
        for index, operator in enumerate(needed):
            last |= dict.fromkeys((*operator.inputs, *operator.captures, *filter(None, operator.outputs)), index)
        last |= dict.fromkeys((*names, ""), len(needed))
        defined = {name for operator in needed for name in operator.outputs}
        ending: list[list[str]] = [[] for _ in range(len(needed) + 1)]
        for name, index in last.items():
            ending[index].append(name)
        for name in last:
            slots.setdefault(name, len(slots))
            if name and name not in defined:
                self._check_source(name)
                sources.append((slots[name], name))
        for operator, over in zip(needed, ending, strict=False):
            entry = entry_of(operator)
            call = Call(operator, self.graph.opset(operator.domain), self.mode, self._bodies_of(operator))
            reason = "" if entry is not None else "it has no torch function"
            if entry is not None:
                reason = entry.refuse(call) or ""
            if entry is None or reason:
                raise PruneirError(
                    f"pruneir train cannot differentiate {operator.type} (node '{operator.label}'): {reason}; "
                    "end the exported graph before it, or train in the framework that it came from"
                )
            reads = tuple(slots[name] for name in (*operator.inputs, *operator.captures))
            writes = tuple(slots.get(name, _ABSENT) for name in operator.outputs)
            steps.append(_Step(entry.function, entry.spread, call, reads, writes, tuple(slots[name] for name in over)))
        return _Schedule(sources, steps, [(name, slots[name]) for name in names], len(slots))

    def _check_source(self, name: str) -> None:
        if name not in self.graph.inputs and self.graph.constant(name) is None:
            raise PruneirError(
                f"pruneir train cannot read the tensor {name!r}: it is sparse, or no tensor; export it as a dense one"
            )

    def _leading_to(self, names: Iterable[str]) -> list[Operator]:
        """The operators that some values depend on, in order; constants are no operators here."""
        wanted, found = set(names), []
        for operator in reversed(self.graph.operators):
            if not wanted.isdisjoint(filter(None, operator.outputs)) and not self._is_constant(operator):
                wanted.update((*operator.inputs, *operator.captures))
                found.append(operator)
        return found[::-1]

    def _is_constant(self, operator: Operator) -> bool:
        return operator.is_a("Constant") and self.graph.constant(operator.outputs[0]) is not None

    def _bodies_of(self, operator: Operator) -> dict[str, Any]:
        if operator not in self._bodies:
            self._bodies[operator] = {
                name: partial(_run_body, Program(_body(self.graph, value.g), self.mode), list(operator.captures))
                for name, value in operator.attributes.items()
                if isinstance(value, onnx.AttributeProto) and value.type == onnx.AttributeProto.GRAPH
            }
        return self._bodies[operator]


def constants(graph: Graph) -> dict[str, np.ndarray]:
    """Every tensor that a graph holds, by the name of its value; strings left out."""
    found = {name: graph.constant(name) for name in graph.values}
    return {name: array for name, array in found.items() if array is not None and array.dtype.kind not in "OSU"}


def tensor_of(array: np.ndarray) -> Tensor:
    """A torch tensor of its own: narrow floats as float32, unsigned integers wider than 8 bits as int64."""
    if array.dtype.kind not in "biuf" or array.dtype == np.float16:
        array = array.astype(np.float32)
    return torch.tensor(np.asarray(array, _WIDENED.get(array.dtype.name, array.dtype)))


def _body(graph: Graph, proto: onnx.GraphProto) -> Graph:
    """A subgraph as a graph that has what it captures among its inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.header)
    model.graph.CopyFrom(proto)
    model.graph.input.extend(onnx.ValueInfoProto(name=name) for name in sorted(free_names(proto)))
    return onnx_io.load(model)


def _run_body(program: Program, captures: list[str], captured: Sequence[Tensor], *inputs: Tensor) -> list[Tensor]:
    """The outputs of a subgraph. Its own constants are none of the network's parameters."""
    graph = program.graph
    own = {name: program.mode.place(tensor_of(array)) for name, array in constants(graph).items()}
    bound = dict(zip((name for name in graph.inputs if name not in captures), inputs, strict=False))
    made = program.run({**own, **dict(zip(captures, captured, strict=True)), **bound}, graph.outputs)
    return [made[name] for name in graph.outputs]
