"""From a graph to a program of steps on channels-last tensors.

    Graph ──rules, fusion──▶ steps ──┬─ kernels of ours, from templates
                                     ├─ moves: copies, and names for memory that is there already
                                     └─ islands of what is left, by TVM

A value may lie in memory in two orders: as ONNX has it, or with its channels last. Each step says in which it reads and
in which it writes; a value is transposed when a step wants the other one, once. Where a value has one channel, or one
point, both orders are the same memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import prod

import numpy as np

from pruneir.backends.lowering.program import Buffer, Call, Constant, Kernel, Program
from pruneir.backends.lowering.recurrent import written_out
from pruneir.backends.x86 import moves
from pruneir.backends.x86.cpu import X86Cpu
from pruneir.backends.x86.expressions import Finish, Place, elementwise
from pruneir.backends.x86.fusion import Fusion, Region
from pruneir.backends.x86.kernels import work
from pruneir.backends.x86.known import with_known_values
from pruneir.backends.x86.moves import Move
from pruneir.backends.x86.plain import Map, Transpose
from pruneir.backends.x86.sources import KERNEL, Sources
from pruneir.backends.x86.winners import with_masks
from pruneir.backends.x86.work import Phase, Setting, Work
from pruneir.deployment.prepare import known_shapes
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes


@dataclass(frozen=True, slots=True)
class Step:
    """What is computed together.

    at       place of its last operator, where it is computed
    main     the operator that it is named after
    work     its kernel; None for elementwise operators on their own, a move, or an operator of an island
    region   the elementwise operators behind; None for a move or an operator of an island
    last     whether it reads and writes channels last
    """

    at: int
    main: Operator
    work: Work | None = None
    region: Region | None = None
    place: Place | None = None
    move: Move | None = None
    last: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """The values that it makes."""
        if self.region is not None:
            return (self.region.value,)
        operator = self.move.taken[-1] if self.move is not None and self.move.taken else self.main
        return tuple(filter(None, operator.outputs))


def lowered(graph: Graph, cpu: X86Cpu) -> Program:
    """The program of a graph with fixed shapes. PruneirError, one line, for what cannot be compiled."""
    setting = setting_of(graph, cpu)
    return _Writing(setting, steps(setting)).program()


def setting_of(graph: Graph, cpu: X86Cpu) -> Setting:
    """What its steps depend on. PruneirError, one line, for a shape that depends on the data."""
    graph = with_known_values(written_out(graph))
    shapes = known_shapes(graph)
    return Setting(with_masks(graph, shapes), shapes, cpu)


def steps(setting: Setting) -> list[Step]:
    """The steps of a graph, in the order in which they are computed."""
    graph, shapes = setting.graph, setting.shapes
    fusion = Fusion(graph, shapes)
    last: dict[str, bool] = {}
    found: list[Step] = []
    for operator in graph.operators:
        if operator in fusion.taken or operator.is_a("Constant"):
            continue
        step = _step(operator, setting, fusion, last)
        found.append(step)
        last.update(dict.fromkeys(step.outputs, step.last))
    return sorted(found, key=lambda step: step.at)


def _step(operator: Operator, setting: Setting, fusion: Fusion, last: dict[str, bool]) -> Step:
    at = fusion.order[operator]
    if not any(prod(setting.shapes.shape(name) or ()) for name in filter(None, operator.outputs)):
        return Step(at, operator, move=Move())  # of no numbers
    made = work(operator, setting)
    if made is not None:
        region = fusion.region(operator.outputs[0], made.place)
        at = max([at, *(fusion.order[each] for each in region.operators)])
        return Step(at, operator, made, region, made.place, last=made.place.last)
    move = moves.move(operator, setting, last)
    if move is not None:
        fusion.taken.update(move.taken)
        at = max([at, *(fusion.order[each] for each in move.taken)])
        return Step(at, operator, move=move, last=move.last)
    for name in dict.fromkeys(filter(None, operator.inputs)):
        shape = setting.shapes.shape(name)
        if shape is None or not shape or setting.graph.constant(name) is not None:
            continue
        is_last = last.get(name, False) and len(shape) > 2
        for place in [Place(shape, 1)] if is_last else [Place(shape, len(shape) - 1), Place(shape, 1 % len(shape))]:
            if elementwise(operator, place, setting.graph, setting.shapes, {name}):
                region = fusion.region(name, place, operator)
                at = max(fusion.order[each] for each in region.operators)
                return Step(at, operator, None, region, place, last=place.last)
    return Step(at, operator)


@dataclass(slots=True)
class _Writing:
    """Writes the steps as calls on buffers."""

    setting: Setting
    steps: list[Step]
    sources: Sources = field(default_factory=Sources)
    names: dict[tuple[str, bool], str] = field(default_factory=dict)  # by value, and whether channels are last
    buffers: dict[str, Buffer] = field(default_factory=dict)
    constants: dict[tuple[str, bytes], Constant] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)  # names of constants
    aliases: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    kernels: dict[str, Kernel] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The graph that is compiled."""
        return self.setting.graph

    @property
    def shapes(self) -> Shapes:
        """Its shapes."""
        return self.setting.shapes

    def program(self) -> Program:
        """All of it."""
        inputs = tuple(self._port(name) for name in self.graph.data_inputs)
        for each in inputs:
            self.names[each.name, False] = each.name
        waiting: list[Operator] = []
        for step in self.steps:
            if step.region is None and step.move is None:
                waiting.append(step.main)
                continue
            self._island(waiting)
            waiting = []
            self._write(step)
        self._island(waiting)
        outputs = tuple(self._port(name) for name in self.graph.outputs)
        for each in outputs:
            self._output(each)
        return Program(
            inputs=inputs,
            outputs=outputs,
            constants=tuple(self.constants.values()),
            temporaries=tuple(each for name, each in self.buffers.items() if name not in self.aliases),
            calls=tuple(self.calls),
            kernels=tuple(self.kernels.values()),
            aliases=dict(self.aliases),
            sources=self.sources.files(),
        )

    def _port(self, name: str) -> Buffer:
        from onnx.helper import tensor_dtype_to_np_dtype  # noqa: PLC0415 - onnx is slow to import

        shape = self.shapes.shape(name)
        assert shape is not None
        return Buffer(name, np.dtype(tensor_dtype_to_np_dtype(self.shapes.elem_type(name))), shape)

    # Steps

    def _write(self, step: Step) -> None:
        if step.move is not None:
            self._move(step, step.move)
            return
        assert step.region is not None
        assert step.place is not None
        made = step.work
        start = self._main(step) if made is None else step.main.outputs[0]
        phases = made.phases if made is not None else (Phase(Map(step.place), "elementwise"),)
        read = self.read(start, step.last) if made is None else self.read(made.data, made.last)
        out = self.written(step.region.value, step.last)
        for phase in phases:
            first = [read] if phase.weights is None else [read, self.constant(phase.weights())]
            first += [self.read(name, False) for name in made.others] if made is not None else []
            finish = Finish(step.place, self.graph, self.shapes, self.setting.cpu.lanes, len(first) + 1)
            text = finish.source(KERNEL, start, step.region.operators, made.bias if made is not None else None)
            operands = [
                self.constant(finish.constants[int(each[1:])]) if each[0] == "#" else self._operand(each, step)
                for each in finish.operands
            ]
            arguments = [*first, out, *operands]
            self._call(phase, arguments, step.main.label, text, len(first))

    def _main(self, step: Step) -> str:
        """The value that elementwise operators on their own begin with: the first as large as what they make."""
        assert step.place is not None
        shape = step.place.shape
        inputs = [name for name in step.main.inputs if name and self.graph.constant(name) is None]
        return next(name for name in inputs if self.shapes.shape(name) == shape)

    def _operand(self, name: str, step: Step) -> str:
        """What a region reads from outside: in the order of its own values, if it has as many axes."""
        assert step.place is not None
        return self.read(name, step.last and len(self.shapes.shape(name) or ()) == len(step.place.shape))

    def _move(self, step: Step, move: Move) -> None:
        """Copies, or a name for memory that is there."""
        output = step.main.outputs[0]
        if move.same is not None:
            self.names[output, move.last] = self.read(move.same, move.last != move.turned)
            return
        for name in step.outputs:
            self.written(name, move.last)
        for copy in move.copies:
            there = self.read(copy.source, copy.last) if isinstance(copy.source, str) else self.constant(copy.source)
            self._call(Phase(copy.kernel, "copy"), [there, self.written(copy.target, move.last)], step.main.label)

    def _island(self, operators: Sequence[Operator]) -> None:
        """Operators by TVM."""
        if not operators:
            return
        from pruneir.backends.x86.islands import island  # noqa: PLC0415 - TVM is slow to import

        prefix = f"i{len(self.sources.whole)}_"
        part = island(self.graph, self.shapes, operators, prefix)
        known: dict[str, str] = {each.name: self.read(each.name, False) for each in part.inputs}
        for each in part.outputs:
            known[each.name] = self.written(each.name, False)
        for constant in part.constants:
            known[constant.name] = self.constant(constant.values)
        for buffer in part.temporaries:
            known[buffer.name] = f"{prefix}{buffer.name}"
            self.buffers[known[buffer.name]] = Buffer(known[buffer.name], buffer.dtype, buffer.shape)
        known |= {name: known.get(part.owner(name), part.owner(name)) for name in part.aliases}
        self.kernels |= {kernel.name: kernel for kernel in part.kernels}
        self.sources.add(part.sources)

        def named(names: Sequence[str]) -> tuple[str, ...]:
            return tuple(known[name] for name in names)

        for call in part.calls:
            self.calls.append(
                Call(
                    call.kernel,
                    named(call.arguments),
                    named(call.reads),
                    named(call.writes),
                    named(call.workspaces),
                    tuple((known[a], known[b]) for a, b in call.inplace),
                    call.layer,
                    call.macs,
                    call.schedule,
                )
            )

    def _call(self, phase: Phase, arguments: Sequence[str], layer: str, finish: str = "", written: int = 1) -> None:
        """A call of a kernel of ours, if it has work.

        arguments  what it reads, its weights, further values, what it writes, operands of the epilogue
        written    place of what it writes
        """
        template = phase.kernel
        if not template.items:
            return
        kernel = self.sources.kernel(type(template).__name__.lower(), template.source(KERNEL, finish))
        if kernel not in self.kernels:
            parameters = tuple(("float", place != written) for place in range(len(arguments)))
            self.kernels[kernel] = Kernel(kernel, parameters, divided=True)
        reads = tuple(n for place, n in enumerate(arguments) if place != written and n not in self.fixed)
        self.calls.append(
            Call(
                kernel,
                tuple(arguments),
                reads,
                (arguments[written],),
                layer=layer,
                macs=phase.macs,
                schedule=phase.schedule,
                items=template.items,
                scratch=template.scratch,
                storage=phase.storage,
                weights=arguments[1] if phase.weights is not None else "",
            )
        )

    # Buffers

    def read(self, value: str, last: bool) -> str:
        """The buffer of a value in an order of its axes; it is transposed if it is there in the other order only."""
        constant = self.graph.constant(value)
        if constant is not None:
            return self.constant(np.moveaxis(constant, 1, -1) if last and constant.ndim > 2 else constant)
        if (value, last) not in self.names:
            there = self.names[value, not last]
            self.names[value, last] = self._transposed(value, there, last)
        return self.names[value, last]

    def _transposed(self, value: str, there: str, last: bool) -> str:
        shape = self.shapes.shape(value)
        assert shape is not None
        if len(shape) < 3 or shape[1] == 1 or prod(shape[2:]) == 1:
            return there
        rows, columns = (shape[1], prod(shape[2:])) if last else (prod(shape[2:]), shape[1])
        made = self._buffer(value, last)
        self._call(Phase(Transpose(shape[0], rows, columns), "transpose"), [there, made], value)
        return made

    def written(self, value: str, last: bool) -> str:
        """The buffer that a value is written to."""
        if (value, last) not in self.names:
            self.names[value, last] = self._buffer(value, last)
        return self.names[value, last]

    def _buffer(self, value: str, last: bool) -> str:
        port = self._port(value)
        shape = port.shape
        flat = len(shape) < 3 or shape[1] == 1 or prod(shape[2:]) == 1
        if value in self.graph.outputs and (flat or not last):
            return value
        name = f"{value}.last" if last else f"{value}."
        self.buffers[name] = Buffer(name, port.dtype, shape)
        return name

    def _output(self, port: Buffer) -> None:
        """An output that is no step's: an input, a constant, another name of a value."""
        if self.graph.constant(port.name) is not None:
            there = self.constant(self.graph.constant(port.name))
        else:
            there = self.read(port.name, False)
        if there in self.buffers and there not in self.aliases:
            self.aliases[there] = port.name
        elif there != port.name:
            self.aliases[port.name] = there

    def constant(self, values: np.ndarray | None) -> str:
        """The name of a constant; equal ones are kept once."""
        assert values is not None
        array = np.ascontiguousarray(values)
        key = (str(array.dtype), blake2b(array.reshape(-1).view(np.uint8).data).digest())
        if key not in self.constants:
            self.constants[key] = Constant(f"c{len(self.constants)}", array)
            self.fixed.add(self.constants[key].name)
        return self.constants[key].name
