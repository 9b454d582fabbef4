"""Concrete shapes of every value, and the content of those that can be known before any data is seen.

Symbolic dimensions are given sizes, then the operators are walked once: what depends on shapes and small constants
alone is evaluated (reference implementations of the onnx package), everything else has its shape inferred, node by
node. A graph's arithmetic on shapes is thereby executed, never pattern-matched. Doing it at two sizes tells what
depends on a symbol from what does not.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_node_outputs

from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator, TensorType
from pruneir.graph.graph import tensor_type
from pruneir.onnx_io.model import fill_node
from pruneir.onnx_io.tensors import embed

_SMALL = 4096
"""Values of more elements than this are data, not shapes."""
_BATCHES = (13, 17)
"""Sizes of a symbolic axis 0: primes that no channel count is a multiple of by accident."""
_SIZES = ((224, 256), (32, 64), (64, 96), (96, 128), (128, 160), (48, 80), (16, 24), (8, 12), (1024, 1280))
"""Sizes tried for other symbolic axes, until one makes the shapes fit; with each the second size."""
_CHOICES = [(batches, sizes) for batches in (_BATCHES, (1, 1)) for sizes in _SIZES]
"""Sizes of axis 0 and of the other axes, in the order in which they are tried; some graphs fit a batch of one only."""
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}

Sizes = Mapping[str, tuple[int, ...]]
"""A shape per graph input."""


@dataclass(slots=True)
class Shapes:
    """Shapes, element types and known contents by value name, for one choice of input shapes."""

    inputs: dict[str, tuple[int, ...]]
    types: dict[str, TensorType] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Operators whose shapes do not fit, and what the checker says."""

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a value; None where it depends on data or on an unknown operator."""
        known = self.types.get(name)
        if known is None or known.shape is None or not all(isinstance(n, int) for n in known.shape):
            return None
        return known.shape  # type: ignore[return-value]

    def value(self, name: str) -> np.ndarray | None:
        """The content of a value, where it does not depend on data."""
        return self.values.get(name)

    def elem_type(self, name: str) -> int:
        """The element type of a value; 0 where unknown."""
        known = self.types.get(name)
        return known.elem_type if known else 0


def input_sizes(graph: Graph, batch: int | None = None, other: int = 224) -> dict[str, tuple[int, ...]]:
    """A shape for every input that has to be fed; symbolic dimensions of one name get one size.

    batch  size of a symbolic axis 0; None: 13, which no channel count is a multiple of by accident
    other  size of any other symbolic axis
    """
    sizes: dict[str, int] = {}
    shapes = {}
    for name in graph.data_inputs:
        declared = graph.type_of(name)
        if declared is None or declared.shape is None:
            continue
        dims = []
        for axis, dim in enumerate(declared.shape):
            size = (_BATCHES[0] if batch is None else batch) if axis == 0 else other
            symbol = dim if isinstance(dim, str) else f"{name}.{axis}"
            dims.append(dim if _is_size(dim) else sizes.setdefault(symbol, size))
        shapes[name] = tuple(dims)
    return shapes


def at_batch(graph: Graph, inputs: Sizes, batch: int) -> dict[str, tuple[int, ...]]:
    """These input shapes with another size for every symbolic axis 0, and for whatever else has its symbol."""
    sizes: dict[str, int] = {}
    shapes = {}
    for name, shape in inputs.items():
        declared = graph.type_of(name)
        known = declared.shape if declared is not None and declared.shape is not None else shape
        shapes[name] = tuple(
            size if isinstance(dim, int) else sizes.setdefault(dim or f"{name}.{axis}", size if axis else batch)
            for axis, (dim, size) in enumerate(zip(known, shape, strict=True))
        )
    return shapes


def _is_size(dim: int | str | None) -> TypeGuard[int]:
    return isinstance(dim, int) and dim >= 0  # Paddle writes -1 for an unknown size


def infer(graph: Graph, inputs: Sizes | None = None) -> Shapes:
    """The shapes of all values.

    inputs  shapes to feed; default: the declared ones, symbols at sizes that fit the graph
    """
    if inputs is not None:
        return _Walk(graph, dict(inputs)).run()
    best: Shapes | None = None
    tried: list[dict[str, tuple[int, ...]]] = []
    for (batch, _), (other, _) in _CHOICES:
        sizes = input_sizes(graph, batch, other)
        if sizes in tried:
            continue
        tried.append(sizes)
        found = _Walk(graph, sizes).run()
        if best is None or len(found.failures) < len(best.failures):
            best = found
        if not found.failures:
            break
    assert best is not None
    return best


def two_sizes(graph: Graph) -> tuple[Shapes, Shapes]:
    """The shapes at two choices of every symbolic size; the same object twice if the graph has no symbols."""
    first = infer(graph)
    return first, at_other_sizes(graph, first)


def at_other_sizes(graph: Graph, first: Shapes) -> Shapes:
    """The shapes at another choice of every symbolic size than that of `infer`; `first` if the graph has no symbols."""
    second = next((b[1], o[1]) for b, o in _CHOICES if input_sizes(graph, b[0], o[0]) == first.inputs)
    sizes = input_sizes(graph, *second)
    return first if sizes == first.inputs else _Walk(graph, sizes).run()


_PRIMES = tuple(n for n in range(3, 3000) if all(n % d for d in range(2, math.isqrt(n) + 1)))
_FACTORS = (1, 2, 4, 8, 16, 32, 64)
"""What a symbolic size may have to be a multiple of; the first that fits counts."""
_LITTLE = (13, 37, 61)
"""Where small sizes are looked for: at primes from these on."""

_LARGE = 2500
"""Where a large size is looked for, that a clamp would show at."""


def symbol_of(graph: Graph, name: str, axis: int) -> str:
    """What a symbolic axis of an input is called: its declared name, or one of its own."""
    declared = graph.type_of(name)
    dim = declared.shape[axis] if declared is not None and declared.shape is not None else None
    return dim if isinstance(dim, str) and dim else f"{name}.{axis}"


def odd_points(graph: Graph, first: Shapes, second: Shapes) -> list[Shapes]:
    """The shapes where symbols but the batch have odd sizes, and different ones: large, near `first`, and small.

    A symbol that only fits in multiples of a power of two gets such a multiple of a prime. Empty if nothing fits.
    """
    near: dict[str, int] = {}
    batches: set[str] = set()
    for name, shape in first.inputs.items():
        for axis, (size, other) in enumerate(zip(shape, second.inputs[name], strict=True)):
            if size != other:
                symbol = symbol_of(graph, name, axis)
                near.setdefault(symbol, size)
                batches |= {symbol} if axis == 0 else set()
    free = [symbol for symbol in near if symbol not in batches]

    def walk(sizes: Mapping[str, int]) -> Shapes | None:
        inputs = {
            name: tuple(
                sizes.get(symbol_of(graph, name, axis), size) if size != other else size
                for axis, (size, other) in enumerate(zip(shape, second.inputs[name], strict=True))
            )
            for name, shape in first.inputs.items()
        }
        found = _Walk(graph, inputs).run()
        return found if len(found.failures) <= len(first.failures) else None

    def prime(least: int, index: int) -> int:
        return [n for n in _PRIMES if n > least][index]

    def sizes_at(factors: Mapping[str, int], share: float, *, distinct: bool) -> dict[str, int]:
        return {
            symbol: factors[symbol] * prime(int(near[symbol] * share) // factors[symbol], index * distinct)
            for index, symbol in enumerate(free)
        }

    if not free:
        return []
    for distinct, share in ((True, 1.0), (True, 0.5), (False, 1.0), (False, 0.5)):
        factors = dict.fromkeys(free, 1)
        found = walk(sizes_at(factors, share, distinct=distinct))
        if found is None:
            factors = dict.fromkeys(free, _FACTORS[-1])
            found = walk(sizes_at(factors, share, distinct=distinct))
            for group in ([[symbol] for symbol in free] if distinct else [free]) if found else []:
                for factor in _FACTORS[:-1]:
                    fewer = factors | dict.fromkeys(group, factor)
                    lower = walk(sizes_at(fewer, share, distinct=distinct))
                    if lower is not None:
                        found, factors = lower, fewer
                        break
        if found is None:
            continue
        points = [found]
        for least in _LITTLE:
            sizes = {s: factors[s] * prime(least - 1, index * distinct) for index, s in enumerate(free)}
            little = walk(sizes)
            if little is not None and all(all(little.shape(name) or (1,)) for name in little.types):
                points.append(little)
                break
        large = walk({s: factors[s] * prime(_LARGE // factors[s], index * distinct) for index, s in enumerate(free)})
        return [large, *points] if large is not None else points
    return []


class _Walk:
    """One pass over the operators."""

    def __init__(self, graph: Graph, inputs: dict[str, tuple[int, ...]]):
        self.graph = graph
        self.found = Shapes(inputs)
        self.protos: dict[str, onnx.TypeProto] = {}
        self.kinds: dict[str, bytes] = {}
        """Serialized types, to compare them by."""
        self.inferred: dict[Hashable, list[onnx.TypeProto | None] | str] = {}
        self.read: dict[bytes, TensorType] = {}
        self.opsets = list(graph.header.opset_import)

    def run(self) -> Shapes:
        for name in self.graph.data_inputs:
            declared = self.graph.type_of(name)
            if declared is not None and name in self.found.inputs:
                self._know(name, helper.make_tensor_type_proto(declared.elem_type, self.found.inputs[name]))
        for name, array in self.graph.initializers.items():
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            self._know(name, helper.make_tensor_type_proto(kind, array.shape))
            if array.size <= _SMALL:
                self.found.values[name] = array
        for operator in self.graph.operators:
            self._visit(operator)
        return self.found

    def _know(self, name: str, proto: onnx.TypeProto) -> None:
        self.protos[name] = proto
        kind = self.kinds[name] = proto.SerializeToString()
        if proto.HasField("tensor_type"):
            if kind not in self.read:
                self.read[kind] = tensor_type(proto)
            self.found.types[name] = self.read[kind]

    def _visit(self, operator: Operator) -> None:
        values = self._evaluate(operator)
        if values is not None:
            for name, value in zip(operator.outputs, values, strict=False):
                if name:
                    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
                    self._know(name, helper.make_tensor_type_proto(kind, value.shape))
                    self.found.values[name] = value
            return
        for name, proto in self._infer(operator).items():
            self._know(name, proto)
        if any(name and self.found.shape(name) is None for name in operator.outputs):
            for name, proto in self._infer_body(operator).items():
                self._know(name, proto)
        for name in operator.outputs:
            if name and self.found.shape(name) is None:
                self._fall_back(name)
        if operator.is_a("Reshape"):
            self._check_elements(operator)

    def _evaluate(self, operator: Operator) -> list[np.ndarray] | None:
        """The outputs, where they follow from shapes and small known values; None otherwise."""
        if operator.is_a("Shape") or operator.is_a("Size"):
            shape = self.found.shape(operator.inputs[0])
            if shape is None:
                return None
            if operator.type == "Size":
                return [np.array(math.prod(shape), np.int64)]
            return [np.array(shape[operator.attribute("start", 0) : operator.attribute("end")], np.int64)]
        if operator.is_a("Constant"):
            value = self.graph.constant(operator.outputs[0])
            return None if value is None or value.size > _SMALL else [value]
        if operator.domain not in ("", "ai.onnx") or operator.type in _RANDOM or operator.captures:
            return None
        if not operator.inputs or not all(name in self.found.values for name in operator.inputs if name):
            return None
        if any(isinstance(value, onnx.AttributeProto) for value in operator.attributes.values()):
            return None
        if self._elements(operator) > _SMALL:
            return None
        attributes = tuple(
            (key, _Content.of(value) if isinstance(value, np.ndarray) else value)
            for key, value in sorted(operator.attributes.items())
        )
        inputs = tuple(_Content.of(self.found.values[name]) if name else None for name in operator.inputs)
        return _computed(operator.type, attributes, inputs, len(operator.outputs), self.graph.opset())

    def _check_elements(self, operator: Operator) -> None:
        """Inference believes a Reshape's target; it fails at run time where the number of elements differs."""
        before, after = self.found.shape(operator.inputs[0]), self.found.shape(operator.outputs[0])
        if before is not None and after is not None and math.prod(before) != math.prod(after):
            self.found.failures[operator.label] = f"reshapes {list(before)} to {list(after)}"

    def _elements(self, operator: Operator) -> int:
        protos = self._infer(operator)
        sizes = [tensor_type(p).shape for p in protos.values() if p.HasField("tensor_type")]
        known = [math.prod(s) for s in sizes if s is not None and all(isinstance(n, int) for n in s)]  # type: ignore[arg-type]
        return max(known, default=0)

    def _infer(self, operator: Operator) -> dict[str, onnx.TypeProto]:
        """The types of the outputs; layers that repeat are inferred once."""
        if operator.captures or any(name and name not in self.protos for name in operator.inputs):
            return {}
        key = self._likeness(operator)
        if key is None or key not in self.inferred:
            found = self._infer_anew(operator)
            types = found if isinstance(found, str) else [found.get(name) for name in operator.outputs]
            if key is not None:
                self.inferred[key] = types
        else:
            types = self.inferred[key]
        if isinstance(types, str):
            self.found.failures[operator.label] = types
            return {}
        return {name: proto for name, proto in zip(operator.outputs, types, strict=True) if proto is not None}

    def _likeness(self, operator: Operator) -> Hashable | None:
        """What inference depends on; None where that cannot be compared."""
        attributes = tuple(sorted(operator.attributes.items(), key=lambda item: item[0]))
        if any(isinstance(value, (np.ndarray, onnx.AttributeProto)) for _, value in attributes):
            return None
        inputs = tuple((self.kinds.get(name), self._content(name)) for name in operator.inputs)
        return operator.type, operator.domain, attributes, inputs, tuple(map(bool, operator.outputs))

    def _content(self, name: str) -> bytes | None:
        value = self.found.values.get(name)
        return value.tobytes() if value is not None and _tells_shape(value) else None

    def _infer_anew(self, operator: Operator) -> dict[str, onnx.TypeProto] | str:
        """The types of the outputs by name, or what is wrong."""
        domain = "" if operator.domain == "ai.onnx" else operator.domain
        try:
            schema = onnx.defs.get_schema(operator.type, self.graph.opset(domain), domain)
        except onnx.defs.SchemaError:
            return {}
        values = {name: self.found.values[name] for name in operator.inputs if name in self.found.values}
        try:
            return dict(
                infer_node_outputs(
                    schema,
                    _node(operator),
                    {name: self.protos[name] for name in operator.inputs if name},
                    {name: numpy_helper.from_array(value) for name, value in values.items() if _tells_shape(value)},
                    opset_imports=self.opsets,
                    ir_version=self.graph.header.ir_version,
                )
            )
        except (InferenceError, ValueError) as error:
            return " ".join(str(error).split())

    def _infer_body(self, operator: Operator) -> dict[str, onnx.TypeProto]:
        """Types of an operator that the standard defines by a function body: those of the body."""
        if operator.domain not in ("", "ai.onnx") or any(n and n not in self.protos for n in operator.inputs):
            return {}
        schema: Any = onnx.defs.get_schema(operator.type, self.graph.opset())
        inputs = [self.protos[name] for name in operator.inputs if name]
        if not schema.has_context_dependent_function:
            return {}
        types = [proto.SerializeToString() for proto in inputs]
        body = onnx.FunctionProto.FromString(
            schema.get_context_dependent_function(_node(operator).SerializeToString(), types)
        )
        feeds = [helper.make_value_info(name, proto) for name, proto in zip(body.input, inputs, strict=False)]
        outputs = [onnx.ValueInfoProto(name=name) for name in body.output]
        model = helper.make_model(
            helper.make_graph(body.node, "body", feeds, outputs),
            opset_imports=body.opset_import,
            ir_version=self.graph.header.ir_version,
        )
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
        named = zip(operator.outputs, inferred, strict=False)
        return {name: info.type for name, info in named if name and info.type.HasField("tensor_type")}

    def _fall_back(self, name: str) -> None:
        """A declared type, for outputs of operators that no schema describes."""
        declared = self.graph.type_of(name)
        if declared is None or declared.shape is None:
            return
        symbols: dict[str, int] = {}
        for source, sizes in self.found.inputs.items():
            given = self.graph.type_of(source)
            if given is not None and given.shape is not None:
                symbols |= {dim: size for dim, size in zip(given.shape, sizes, strict=True) if isinstance(dim, str)}
        shape = [symbols.get(dim) if isinstance(dim, str) else dim for dim in declared.shape]
        if all(map(_is_size, shape)):
            self._know(name, helper.make_tensor_type_proto(declared.elem_type, shape))


def _tells_shape(value: np.ndarray) -> bool:
    """Whether inference may look into a value: sizes, axes and indices, or a scale per axis."""
    return value.dtype.kind in "iub" or value.size <= 16


def _node(operator: Operator) -> onnx.NodeProto:
    node = onnx.NodeProto()
    fill_node(node, operator, embed)
    return node


class _Content(NamedTuple):
    """A small array as a value that can be compared and hashed."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: np.ndarray) -> _Content:
        return cls(array.dtype, array.shape, array.tobytes())

    def array(self) -> np.ndarray:
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)


@lru_cache(maxsize=8192)
def _computed(
    kind: str, attributes: tuple[tuple[str, Any], ...], inputs: tuple[_Content | None, ...], outputs: int, opset: int
) -> list[np.ndarray] | None:
    """What an operator makes of known inputs, by the reference implementation; exporters repeat such chains a lot."""
    names = tuple("" if content is None else f"x{slot}" for slot, content in enumerate(inputs))
    given = {key: value.array() if isinstance(value, _Content) else value for key, value in attributes}
    node = _node(Operator(kind, names, tuple(f"y{i}" for i in range(outputs)), given))
    feeds = {name: content.array() for name, content in zip(names, inputs, strict=True) if content is not None}
    with contextlib.suppress(Exception):  # what the reference cannot evaluate is merely not known
        return [np.asarray(out) for out in ReferenceEvaluator(node, opsets={"": opset}).run(None, feeds)]
    return None


def with_input_shapes(graph: Graph, given: Mapping[str, tuple[int | str, ...]]) -> Graph:
    """A copy whose inputs have these shapes (sizes or symbols); what the file says of inner values goes."""
    copy = graph.copy()
    for name, shape in given.items():
        known = copy.type_of(name) if name in copy.data_inputs else None
        if known is None:
            raise PruneirError(f"--input-shape: the model has no input '{name}'; its inputs are {copy.data_inputs}")
        if known.shape is not None and len(known.shape) != len(shape):
            raise PruneirError(f"--input-shape: input '{name}' has {len(known.shape)} axes, not {len(shape)}")
        copy.declare(name, known.elem_type, shape)
    copy.forget_inner_types()
    first, second = two_sizes(copy)
    for node, fault in first.failures.items():
        raise PruneirError(f"--input-shape: the network does not fit: at node '{node}' {fault}")
    for name in copy.outputs:
        kind = copy.type_of(name)
        here, there = first.shape(name), second.shape(name)
        if kind is not None and here is not None and there is not None:
            same = [n if n == m else None for n, m in zip(here, there, strict=True)]
            copy.declare(name, kind.elem_type, same)
    return copy
