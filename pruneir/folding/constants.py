"""Constants: Constant operators become initializers, and operators on constants alone are computed.

What is computed must not cost anything: integers and booleans always (they are shapes, axes, indices), ConstantOfShape
always (exporters make weights with it), other floats where they are few, or take no more bytes than the constants they
are made of, through however many operators (what is in between may be larger: it goes). Never where a matrix would
become two: what its readers make of it shares one parameter, and must go on sharing it. Readers whose results meet
again, as where weights are divided by their norm, leave one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.folding.edit import first_output
from pruneir.graph import Graph, Operator
from pruneir.shapes import infer

_LARGEST = 16 << 20
"""Bytes that a folded integer tensor may have, and any tensor in between."""
_FEW = 4096
"""Elements of floats that are computed even where they are more than what they are made of."""
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_NEVER = (*_RANDOM, *_QUANTIZED, "Constant", "Dropout")


def lower_constants(graph: Graph) -> int:
    """Turn every Constant operator into an initializer of its output's name; the number of them.

    One that makes a graph output stays: initializers are no results.
    """
    outputs, count = set(graph.outputs), 0
    for operator in graph.operators:
        if operator.is_a("Constant") and operator.outputs[0] not in outputs:
            value = graph.constant(operator.outputs[0])
            if value is not None:
                graph.define(operator.outputs[0], value)
                count += 1
    return count


def fold_subgraphs(graph: Graph) -> int:
    """Replace operators on constants by their results; the number of operators."""
    found = _constant_region(graph)
    if not found:
        return 0
    region = _Region(graph, found)
    worth = region.unshared([operator for operator in region.computable if region.is_worthwhile(operator)])
    if not worth:
        return 0
    values = {op.outputs[0]: _filled(graph, op) for op in region.computable if _is_filled(graph, op)}
    left = [operator for operator in region.leading_to(worth) if operator.outputs[0] not in values]
    values |= _evaluate(graph, left, values) if left else {}
    done = [operator for operator in worth if all(name in values for name in operator.outputs if name)]
    for operator in done:
        for name in filter(None, operator.outputs):
            graph.define(name, values[name])
    return len(done)


def _constant_region(graph: Graph) -> list[Operator]:
    """The operators that depend on constants alone, in order."""
    known, outputs, found = set(graph.initializers), set(graph.outputs), []
    for operator in graph.operators:
        inputs = [name for name in operator.inputs if name]
        if inputs and known.issuperset(inputs) and outputs.isdisjoint(operator.outputs) and _is_foldable(operator):
            known.update(operator.outputs)
            found.append(operator)
    return found


def _is_foldable(operator: Operator) -> bool:
    standard = operator.domain in ("", "ai.onnx") and operator.type not in _NEVER
    return standard and not any(isinstance(value, onnx.AttributeProto) for value in operator.attributes.values())


def _subgraph(graph: Graph, operators: Iterable[Operator]) -> Graph:
    region = Graph(header=onnx.ModelProto(ir_version=max(4, graph.header.ir_version)))
    region.header.opset_import.extend(graph.header.opset_import)
    for operator in operators:
        for name in operator.inputs:
            if name in graph.initializers:
                region.set_initializer(name, graph.initializers[name])
        region.add(operator)
    return region


class _Region:
    """Operators on constants alone: which of them may be computed, and what each is made of."""

    def __init__(self, graph: Graph, operators: list[Operator]):
        self.graph = graph
        self.shapes = infer(_subgraph(graph, operators))
        self.computable: list[Operator] = []
        self._made_of = {name: frozenset([name]) for name in graph.initializers}
        """By value: the initializers, integers and filled tensors behind it."""
        for operator in operators:
            sources = list(filter(None, operator.inputs))
            if not self._made_of.keys() >= set(sources) or not self._is_computable(operator):
                continue
            self.computable.append(operator)
            origins = frozenset().union(*(self._made_of[name] for name in sources))
            for name in filter(None, operator.outputs):
                self._made_of[name] = frozenset([name]) if self._is_free(operator, name) else origins

    def is_worthwhile(self, operator: Operator) -> bool:
        """Whether an operator's outputs may become initializers: few numbers, or no more than what they are made of."""
        outputs = [name for name in operator.outputs if name]
        if all(self._is_free(operator, name) or self._elements(name) <= _FEW for name in outputs):
            return True
        origins = frozenset().union(*(self._made_of[name] for name in operator.inputs if name))
        return sum(map(self._bytes, outputs)) <= sum(map(self._bytes, origins))

    def unshared(self, chosen: list[Operator]) -> list[Operator]:
        """Those of the operators that leave one constant of each matrix, however many operators read it."""
        left = set(chosen)
        for name in reversed(self._made_of):
            if len(self.graph.uses(name)) > 1 and self._is_matrix(name):
                ends, behind = self._ends(name, left)
                left -= behind if len(ends) > 1 else set()
        return [operator for operator in chosen if operator in left]

    def _ends(self, name: str, chosen: set[Operator]) -> tuple[set[str], set[Operator]]:
        """Which values made of one by the chosen operators others read, and the operators that make them."""
        ends, behind, waiting = set[str](), set[Operator](), [name]
        while waiting:
            value = waiting.pop()
            for reader in self.graph.users(value):
                if reader not in chosen:
                    ends.add(value)
                elif reader not in behind and not self._is_free(reader, first_output(reader)):
                    behind.add(reader)
                    waiting += filter(None, reader.outputs)
        return ends, behind

    def leading_to(self, chosen: list[Operator]) -> list[Operator]:
        """These operators and those of the region that they depend on, in order."""
        needed, found = {name for operator in chosen for name in operator.outputs}, []
        for operator in reversed(self.computable):
            if not needed.isdisjoint(operator.outputs):
                needed.update(operator.inputs)
                found.append(operator)
        return found[::-1]

    def _is_computable(self, operator: Operator) -> bool:
        if any(self.shapes.shape(name) is None or not self.shapes.elem_type(name) for name in operator.outputs if name):
            return False
        if operator.is_a("ConstantOfShape"):
            return True
        sources = dict.fromkeys(filter(None, operator.inputs))
        total = sum(self._bytes(name) for name in operator.outputs if name)
        if not any(self._is_float(name) for name in operator.outputs if name):
            return total <= _LARGEST
        return total <= max(_LARGEST, sum(map(self._bytes, sources)))

    def _is_free(self, operator: Operator, name: str) -> bool:
        return operator.is_a("ConstantOfShape") or not self._is_float(name)

    def _elements(self, name: str) -> int:
        return math.prod(self.shapes.shape(name) or ())

    def _bytes(self, name: str) -> int:
        kind = self.shapes.elem_type(name)
        return self._elements(name) * int(np.dtype(tensor_dtype_to_np_dtype(kind)).itemsize) if kind else 0

    def _is_float(self, name: str) -> bool:
        kind = tensor_dtype_to_np_dtype(self.shapes.elem_type(name))
        return bool(np.dtype(kind).kind not in "iubO")

    def _is_matrix(self, name: str) -> bool:
        return len(self.shapes.shape(name) or ()) >= 2 and self._is_float(name)


def _is_filled(graph: Graph, operator: Operator) -> bool:
    return operator.is_a("ConstantOfShape") and operator.inputs[0] in graph.initializers


def _filled(graph: Graph, operator: Operator) -> np.ndarray:
    """ConstantOfShape, the one operator whose result is much larger than what a session would be given."""
    value = np.asarray(operator.attribute("value", np.zeros(1, np.float32)))
    return np.full(tuple(graph.initializers[operator.inputs[0]]), value.reshape(-1)[0], value.dtype)


@contextmanager
def _silence() -> Iterator[None]:
    """No remarks from onnx-graphsurgeon and ONNX Runtime: what cannot be computed merely stays."""
    import onnxruntime  # noqa: PLC0415 - slow to import
    from onnx_graphsurgeon.logger import G_LOGGER  # noqa: PLC0415

    onnxruntime.set_default_logger_severity(4)
    try:
        with G_LOGGER.suppress():
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)


def _evaluate(graph: Graph, operators: list[Operator], known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of operators on constants, as ONNX Runtime computes them; without those that it cannot compute."""
    import onnx_graphsurgeon as surgeon  # noqa: PLC0415 - slow to import

    constants = {**graph.initializers, **known}
    for partitioning in (None, "recursive"):  # one session for all, or one for each that can be computed
        tensors: dict[str, Any] = {"": surgeon.Variable.empty()}
        nodes = [_node(surgeon, constants, operator, tensors) for operator in operators]
        made = {name: surgeon.Variable(f"{name}/folded") for op in operators for name in op.outputs if name}
        nodes += [surgeon.Node("Identity", inputs=[tensors[name]], outputs=[out]) for name, out in made.items()]
        imports = list(graph.header.opset_import)
        network = surgeon.Graph(
            nodes,
            outputs=list(made.values()),
            opset=graph.opset(),
            import_domains=imports,
            ir_version=max(4, graph.header.ir_version),
        )
        with _silence():
            network.fold_constants(fold_shapes=False, recurse_subgraphs=False, partitioning=partitioning)
        folded = {tensor.name: tensor for tensor in network.outputs}
        values = {name: folded[out.name].values for name, out in made.items() if hasattr(folded[out.name], "values")}
        if values:
            return values
    return {}


def _node(surgeon: Any, constants: Mapping[str, np.ndarray], operator: Operator, tensors: dict[str, Any]) -> Any:
    for name in operator.inputs:
        if name not in tensors:
            tensors[name] = surgeon.Constant(name, constants[name])
    for name in operator.outputs:
        if name:
            tensors[name] = surgeon.Variable(name)
    return surgeon.Node(
        operator.type,
        attrs=_attributes(surgeon, operator.attributes),
        inputs=[tensors[name] for name in operator.inputs],
        outputs=[tensors[name] for name in operator.outputs],
    )


def _attributes(surgeon: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: surgeon.Constant(key, value) if isinstance(value, np.ndarray) else value
        for key, value in attributes.items()
    }
