"""One walk over the operators, at concrete input shapes: evaluate what is known, infer the shapes of the rest."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.shape_inference import InferenceError, infer_node_outputs

from pruneir.graph import Graph, Operator, TensorType
from pruneir.graph.graph import tensor_type
from pruneir.shapes.evaluation import evaluated, node_of
from pruneir.shapes.pools import without_padded_windows

_LIKE_INPUT = ("GroupNormalization", "SimplifiedLayerNormalization")
"""Operators that return what is like their input, and that onnx does not infer in every version that runtimes run."""
_SMALL = 4096
"""Values of more elements than this are data, not shapes."""

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


def is_size(dim: int | str | None) -> TypeGuard[int]:
    """Whether a declared dimension is a size, and no symbol."""
    return isinstance(dim, int) and dim >= 0  # Paddle writes -1 for an unknown size


class Walk:
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
        """The shapes of all values."""
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
        if operator.domain not in ("", "ai.onnx") or operator.captures:
            return None
        if not operator.inputs or not all(name in self.found.values for name in operator.inputs if name):
            return None
        if self._elements(operator) > _SMALL:
            return None
        known = [self.found.values[name] if name else None for name in operator.inputs]
        return evaluated(operator, known, self.graph.opset())

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
        if operator.is_a(*_LIKE_INPUT):
            return {operator.outputs[0]: self.protos[operator.inputs[0]]}
        domain = "" if operator.domain == "ai.onnx" else operator.domain
        try:
            schema = onnx.defs.get_schema(operator.type, self.graph.opset(domain), domain)
        except onnx.defs.SchemaError:
            return {}
        values = {name: self.found.values[name] for name in operator.inputs if name in self.found.values}
        try:
            found = infer_node_outputs(
                schema,
                node_of(operator),
                {name: self.protos[name] for name in operator.inputs if name},
                {name: numpy_helper.from_array(value) for name, value in values.items() if _tells_shape(value)},
                opset_imports=self.opsets,
                ir_version=self.graph.header.ir_version,
            )
        except (InferenceError, ValueError) as error:
            return " ".join(str(error).split())
        return without_padded_windows(operator, self.protos, dict(found))

    def _infer_body(self, operator: Operator) -> dict[str, onnx.TypeProto]:
        """Types of an operator that the standard defines by a function body: those of the body."""
        opset = self.graph.opset()
        if operator.domain not in ("", "ai.onnx") or any(n and n not in self.protos for n in operator.inputs):
            return {}
        if not onnx.defs.has(operator.type, opset):
            return {}
        schema: Any = onnx.defs.get_schema(operator.type, opset)
        inputs = [self.protos[name] for name in operator.inputs if name]
        if not schema.has_context_dependent_function:
            return {}
        types = [proto.SerializeToString() for proto in inputs]
        body = onnx.FunctionProto.FromString(
            schema.get_context_dependent_function(node_of(operator).SerializeToString(), types)
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
        if all(map(is_size, shape)):
            self._know(name, helper.make_tensor_type_proto(declared.elem_type, shape))


def _tells_shape(value: np.ndarray) -> bool:
    """Whether inference may look into a value: sizes, axes and indices, or a scale per axis."""
    return value.dtype.kind in "iub" or value.size <= 16
