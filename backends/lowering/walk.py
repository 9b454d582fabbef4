"""The walk over a fused module: every step a call of a C function, every constant as its kernel reads it.

A backend says what becomes of a fused function (`function`) and what files its code is in (`sources`); which buffers
there are, who reads and writes them and where the outputs come from is the same for all.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype
from tvm import relax, s_tir, tirx

from pruneir.backends.lowering import bare
from pruneir.backends.lowering.importing import first_line
from pruneir.backends.lowering.inplace import in_place, written
from pruneir.backends.lowering.program import Buffer, Call, Constant, Kernel, Program
from pruneir.backends.lowering.ranking import HEADER, Ranking, header, label_of, ranking
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.shapes import infer
from pruneir.storage import Storage

C_TYPES = {
    "float32": "float",
    "int64": "int64_t",
    "int32": "int32_t",
    "int16": "int16_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
    "uint32": "uint32_t",
}


class Packing(Protocol):
    """How a kernel wants its weights laid out."""

    def pack(self, weights: np.ndarray) -> np.ndarray:
        """The weights in the order in which they are read."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A fused function in C.

    pointers    C type of each parameter, and whether it is only read; workspaces come last
    workspaces  bytes of each workspace
    inplace     parameters that the output may be written in place of
    packing     how its weights are laid out, and which parameter they are
    schedule    its tile, or `default`
    storages    of the weights of each call in turn, where leaving out their zeros was considered
    """

    function: tirx.PrimFunc
    pointers: tuple[tuple[str, bool], ...]
    workspaces: tuple[int, ...] = ()
    inplace: tuple[int, ...] = ()
    packing: Packing | None = None
    weights: int = -1
    macs: int = 0
    schedule: str = "default"
    storages: tuple[Storage, ...] = ()

    @property
    def loose(self) -> set[int]:
        """Parameters whose memory may be another's: what is written in place, and where."""
        outputs = len(self.pointers) - len(self.workspaces) - 1
        return {*self.inplace, outputs} if self.inplace else set()


@dataclass(slots=True)
class Lowering(ABC):
    """The program of a graph, from its fused module."""

    graph: Graph
    target: Any
    module: Any
    functions: dict[str, Lowered] = field(default_factory=dict)
    constants: dict[tuple[str, bytes], Constant] = field(default_factory=dict)
    copies: list[int] = field(default_factory=list)
    rankings: dict[str, Ranking] = field(default_factory=dict)
    temporaries: list[Buffer] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    prefix: str = ""
    names: dict[Any, Any] = field(default_factory=dict)  # a tuple of names for a tuple
    calls: list[Call] = field(default_factory=list)
    labels: dict[bytes, list[str]] = field(default_factory=dict)
    at: str = ""  # the function that is being made

    @abstractmethod
    def function(self, name: str, function: tirx.PrimFunc, constants: list[int], exact: bool) -> Lowered:
        """What a fused function becomes.

        constants  places of its parameters that are constants
        exact      whether it reads an array of the caller, beyond whose end nothing may be read
        """

    @abstractmethod
    def sources(self) -> dict[str, str]:
        """The files that its code is in, by name."""

    def program(self) -> Program:
        """Walk over main's bindings. PruneirError, one line, for what cannot be compiled."""
        try:
            return self._walked()
        except (RuntimeError, TypeError, s_tir.ScheduleError) as error:  # TVM refuses in many places, in many ways
            where = f"{self.at}: " if self.at else ""
            raise PruneirError(f"{where}TVM has no C for it: {first_line(error)}") from None

    def require_types(self, name: str, function: tirx.PrimFunc) -> None:
        """PruneirError for a function of tensors that C has no type for, with the operator where these begin."""
        unknown = sorted({str(buffer.dtype) for buffer in function.params} - C_TYPES.keys())
        if not unknown:
            return
        types = {name: kind.elem_type for name, kind in infer(self.graph).types.items() if kind.elem_type}
        found = {name for name, kind in types.items() if tensor_dtype_to_np_dtype(kind).name in unknown}
        first = next(
            (each for each in self.graph.operators if not found.isdisjoint((*each.inputs, *each.outputs))), None
        )
        where = f"{first.label} ({first.type})" if first is not None else shown(name)
        raise PruneirError(f"{where}: tensors of {', '.join(unknown)} are not compiled; give the network in float32")

    def plain(self, name: str, body: tirx.PrimFunc, constants: Collection[int], **details: Any) -> Lowered:
        """A function of lowered loops, written by TVM."""
        inplace = in_place(body, constants)
        done = bare.bare(bare.finished(body, self.target), f"{self.prefix}k_{name}")
        stored = written(body)
        pointers = [(C_TYPES[str(b.dtype)], b.name not in stored) for b in body.params]
        return Lowered(
            function=done.function,
            pointers=(*pointers, *[("uint8_t", False)] * len(done.workspaces)),
            workspaces=done.workspaces,
            inplace=inplace,
            **details,
        )

    def text(self) -> str:
        """C of all functions, and of copies."""
        functions = {str(f.function.attrs["global_symbol"]): f for f in self.functions.values()}
        try:
            text = bare.c_source({name: f.function for name, f in functions.items()}, self.target)
        except RuntimeError:
            for name, function in functions.items():  # which one it is
                self.at = shown(name)
                bare.c_source({name: function.function}, self.target)
            raise
        for name, function in functions.items():
            text = bare.restricted(text, name, {i for i in range(len(function.pointers)) if i not in function.loose})
            pointers = [str(each.name) for each in function.function.params]
            text = bare.bound(text, name, {pointers[place]: value for place, value in self._numbers(name)})
        copies = "".join(
            f"void {self.prefix}copy_{size}(const float *from, float *to) {{ memcpy(to, from, {size}); }}\n"
            for size in self.copies
        )
        if not self.rankings:
            return text + copies
        ranking_text = "".join(made.source(self.prefix) for made in self.rankings.values())
        return f'#include "{HEADER}"\n{ranking_text}{text}{copies}'

    def _walked(self) -> Program:
        main = self.module["main"]
        self.labels = layer_labels(self.graph)
        inputs = []
        for parameter, name in zip(main.params, self.graph.data_inputs, strict=True):
            self.names[parameter] = name
            inputs.append(_buffer(name, parameter.ty))
        bindings = [binding for block in main.body.blocks for binding in block.bindings]
        for name, function, constants, exact in self._used(bindings, set(main.params)):
            self.at = shown(name)
            self.functions[name] = self.function(name, function, constants, exact)
        self.at = ""
        for binding in bindings:
            self._binding(binding)
        return self._program(tuple(inputs), main.body.body)

    def _used(self, bindings: list[Any], params: set[Any]) -> Iterator[tuple[str, Any, list[int], bool]]:
        """Every function that is called: which parameters are constants, and whether it reads a caller's array."""
        found: dict[str, tuple[list[int], bool]] = {}
        for call in (b.value for b in bindings if _is_call(b.value, "relax.call_tir")):
            for kind in _tensors(call.ty_args[0]):
                _buffer("", kind)
            arguments = list(call.args[1].fields)
            constants = [i for i, each in enumerate(arguments) if is_constant(each)]
            known, exact = found.get(call.args[0].name_hint, (constants, False))
            exact = exact or any(each in params for each in arguments)
            found[call.args[0].name_hint] = ([i for i in known if i in constants], exact)
        for variable, function in self.module.functions.items():
            if variable.name_hint in found:
                yield variable.name_hint, function, *found[variable.name_hint]

    def _binding(self, binding: Any) -> None:
        value, variable = binding.value, binding.var
        if _is_call(value, "relax.call_tir"):
            self._call(variable, value)
        elif _is_call(value, "relax.call_dps_packed"):
            self._ranking(variable, value)
        elif _is_call(value, "relax.reshape") or _is_call(value, "relax.memory.view"):
            self.names[variable] = self._name(value.args[0])
        elif isinstance(value, relax.Tuple):
            self.names[variable] = tuple(self._name(each) for each in value.fields)
        elif isinstance(value, relax.TupleGetItem):
            self.names[variable] = self.names[value.tuple_value][value.index]
        elif isinstance(value, relax.Var) or is_constant(value):
            self.names[variable] = self._name(value)
        else:
            what = value.op.name if hasattr(getattr(value, "op", None), "name") else type(value).__name__
            raise PruneirError(f"{what} cannot be computed by static code; end the exported graph in front of it")

    def _call(self, variable: Any, value: Any) -> None:
        """One call of a function, its outputs and workspaces new temporaries."""
        function = self.functions[value.args[0].name_hint]
        arguments = list(value.args[1].fields)
        given = []
        for place, each in enumerate(arguments):
            packing = function.packing if place == function.weights else None
            given.append(self._constant(each, packing) if is_constant(each) else self._name(each))
        writes = self._results(value)
        is_tuple = hasattr(value.ty_args[0], "fields")
        self.names[variable] = writes if is_tuple else writes[0]
        spaces = self._spaces(function.workspaces)
        name = str(function.function.attrs["global_symbol"])
        constants = {constant.name for constant in self.constants.values()}
        before = sum(call.kernel == name for call in self.calls)
        self.calls.append(
            Call(
                kernel=name,
                arguments=(*given, *writes, *spaces),
                reads=tuple(each for each in given if each not in constants),
                writes=writes,
                workspaces=spaces,
                inplace=tuple((writes[0], given[place]) for place in function.inplace if given[place] not in constants),
                layer=self._layer(arguments) or shown(name),
                macs=function.macs,
                schedule=function.schedule,
                storage=function.storages[before] if function.storages else None,
                weights=given[function.weights] if function.packing is not None else "",
            )
        )

    def _ranking(self, variable: Any, value: Any) -> None:
        """One call of the kernel that ranks."""
        made = ranking(value)
        given, constants = self._name(value.args[1].fields[0]), {each.name for each in self.constants.values()}
        writes, spaces = self._results(value), self._spaces((made.workspace,))
        self.names[variable] = writes[0] if made.last else writes
        name = f"{self.prefix}{made.name}"
        self.rankings[name] = made
        reads = () if given in constants else (given,)
        label = label_of(value, self.graph) or made.name
        self.calls.append(Call(name, (given, *writes, *spaces), reads, writes, spaces, layer=label, schedule=str(made)))

    def _results(self, value: Any) -> tuple[str, ...]:
        """Temporaries for what the next call makes."""
        made = []
        for index, kind in enumerate(_tensors(value.ty_args[0])):
            name = f"v{len(self.calls)}"  # Relax's own names are not unique
            made.append(_buffer(f"{name}.{index}" if index else name, kind))
        self.temporaries += made
        return tuple(each.name for each in made)

    def _spaces(self, sizes: tuple[int, ...]) -> tuple[str, ...]:
        """Workspaces of the next call, of so many bytes."""
        made = [Buffer(f"v{len(self.calls)}.ws{i}", np.dtype(np.uint8), (size,)) for i, size in enumerate(sizes)]
        self.temporaries += made
        return tuple(each.name for each in made)

    def _layer(self, arguments: list[Any]) -> str:
        """The operator of the graph whose weights are among the arguments; of several with equal ones, the next."""
        for value in filter(is_constant, arguments):
            labels = self.labels.get(content(value).tobytes())
            if labels:
                return labels.pop(0) if len(labels) > 1 else labels[0]
        return ""

    def _name(self, value: Any) -> Any:
        return self._constant(value, None) if is_constant(value) else self.names[value]

    def _constant(self, value: Any, packing: Packing | None) -> str:
        """The name of a constant, laid out as its kernel reads it; equal ones are kept once."""
        array = np.ascontiguousarray(content(value))
        made = packing.pack(array) if packing is not None else array
        key = (str(made.dtype), made.tobytes())
        if key not in self.constants:
            self.constants[key] = Constant(f"c{len(self.constants)}", made)
        return self.constants[key].name

    def _program(self, inputs: tuple[Buffer, ...], returned: Any) -> Program:
        named = (
            self.names[returned] if not isinstance(returned, relax.Tuple) else tuple(map(self._name, returned.fields))
        )
        results = named if isinstance(named, tuple) else (named,)
        known = {each.name: each for each in (*inputs, *self.temporaries)}
        outputs, taken, wanted = [], set(), infer(self.graph)
        kernels = [Kernel(str(f.function.attrs["global_symbol"]), f.pointers) for f in self.functions.values()]
        kernels += [Kernel(name, made.pointers) for name, made in self.rankings.items()]
        for name, result, kind in zip(self.graph.outputs, results, _tensors(returned.ty), strict=True):
            like = known.get(result) or next(c for c in self.constants.values() if c.name == result)
            outputs.append(_buffer(name, kind))
            shape = wanted.shape(name)
            if shape is not None and shape != outputs[-1].shape:
                raise PruneirError(
                    f"output '{name}' has the shape {[*shape]}, and TVM makes it {[*outputs[-1].shape]};"
                    " an operator in front of it is not compiled as ONNX defines it"
                )
            if result in {t.name for t in self.temporaries} and result not in taken:
                self.aliases[result] = name
                taken.add(result)
                continue
            kernel = f"{self.prefix}copy_{like.nbytes}"  # an output that is an input, a constant, or another output too
            if kernel not in {each.name for each in kernels}:
                kernels.append(Kernel(kernel, (("float", True), ("float", False))))
                self.copies.append(like.nbytes)
            reads = () if isinstance(like, Constant) else (result,)
            self.calls.append(Call(kernel, (result, name), reads, (name,), layer="copy"))
        return Program(
            inputs=inputs,
            outputs=tuple(outputs),
            constants=tuple(self.constants.values()),
            temporaries=tuple(each for each in self.temporaries if each.name not in taken),
            calls=tuple(self.calls),
            kernels=tuple(kernels),
            aliases=dict(self.aliases),
            sources={**self.sources(), **({HEADER: header()} if self.rankings else {})},
        )

    def _numbers(self, kernel: str) -> Iterator[tuple[int, float]]:
        """Arguments of a kernel that are one and the same number in all of its calls."""
        known = {each.name: each.values for each in self.constants.values()}
        arguments = [call.arguments for call in self.calls if call.kernel == kernel]
        for place, names in enumerate(zip(*arguments, strict=True)):
            value = known.get(names[0])
            if value is not None and set(names) == {names[0]} and value.size == 1 and value.dtype == np.float32:
                yield place, float(value.ravel()[0])


def layer_labels(graph: Graph) -> dict[bytes, list[str]]:
    """What linear operators are called in the graph, by the content of their weights, as they are or transposed."""
    found: dict[bytes, list[str]] = {}
    for operator in graph.operators:
        if operator.is_a("Conv", "ConvTranspose", "Gemm", "MatMul"):
            held = [graph.constant(name) for name in operator.inputs[:2] if name]
            for weights in (each for each in held if each is not None):
                for each in (weights, weights.T) if weights.ndim == 2 else (weights,):
                    found.setdefault(each.tobytes(), []).append(operator.label)
    return found


def shown(name: str) -> str:
    """A function's name without what tells nothing."""
    return re.sub(r"^(k_)?(fused_)?", "", name)


def _tensors(kind: Any) -> list[Any]:
    return list(kind.fields) if hasattr(kind, "fields") else [kind]


def _buffer(name: str, kind: Any) -> Buffer:
    shape = kind.shape.values if hasattr(kind.shape, "values") else kind.shape
    if any(not hasattr(size, "value") and not isinstance(size, int) for size in shape):
        raise PruneirError("a size depends on the data; end the exported graph in front of it")
    return Buffer(name, np.dtype(str(kind.dtype)), tuple(int(size) for size in shape))


def content(value: Any) -> np.ndarray:
    """What a constant holds."""
    return np.asarray((value.value if hasattr(value, "value") else value.data).numpy())


def is_constant(value: Any) -> bool:
    """Whether its content is known."""
    return type(value).__name__ in ("GenericConst", "Constant")


def _is_call(value: Any, name: str) -> bool:
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == name
