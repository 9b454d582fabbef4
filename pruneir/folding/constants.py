"""Constants: Constant operators become initializers, and operators on constants alone are computed.

What is computed must not cost anything: integers and booleans always (they are shapes, axes, indices), ConstantOfShape
always (exporters make weights with it), other floats where the result takes no more bytes than what it is made of, and
never where a matrix is also read as it is: the two uses share one parameter, and must go on sharing it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.folding.edit import define
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes, infer

_LARGEST = 16 << 20
"""Bytes that a folded integer tensor may have."""
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
                define(graph, operator.outputs[0], value)
                count += 1
    return count


def fold_subgraphs(graph: Graph) -> int:
    """Replace operators on constants by their results; the number of operators."""
    found = _constant_region(graph)
    if not found:
        return 0
    region = _subgraph(graph, found)
    worth = _worthwhile(graph, found, infer(region))
    values = {op.outputs[0]: _filled(graph, op) for op in worth if _is_filled(graph, op)}
    left = [operator for operator in worth if operator.outputs[0] not in values]
    values |= _evaluate(graph, left, values) if left else {}
    done = [operator for operator in worth if all(name in values for name in operator.outputs if name)]
    for operator in done:
        for name in filter(None, operator.outputs):
            define(graph, name, values[name])
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


def _worthwhile(graph: Graph, region: list[Operator], shapes: Shapes) -> list[Operator]:
    """Those of a constant region that are worth computing."""
    known, chosen = set(graph.initializers), []
    for operator in region:
        if known.issuperset(filter(None, operator.inputs)) and _is_worthwhile(graph, operator, shapes):
            known.update(operator.outputs)
            chosen.append(operator)
    return chosen


def _is_worthwhile(graph: Graph, operator: Operator, shapes: Shapes) -> bool:
    sizes = [_bytes(shapes, name) for name in operator.outputs if name]
    if any(size is None for size in sizes):
        return False
    total = sum(size for size in sizes if size is not None)
    if operator.is_a("ConstantOfShape"):
        return True
    if not any(_is_float(shapes, name) for name in operator.outputs if name):
        return total <= _LARGEST
    sources = dict.fromkeys(filter(None, operator.inputs))
    if any(_is_matrix(shapes, name) and len(graph.uses(name)) > 1 for name in sources):
        return False
    return total <= sum(_bytes(shapes, name) or 0 for name in sources)


def _bytes(shapes: Shapes, name: str) -> int | None:
    shape = shapes.shape(name)
    if shape is None or not shapes.elem_type(name):
        return None
    return math.prod(shape) * int(np.dtype(tensor_dtype_to_np_dtype(shapes.elem_type(name))).itemsize)


def _is_float(shapes: Shapes, name: str) -> bool:
    kind = tensor_dtype_to_np_dtype(shapes.elem_type(name))
    return bool(np.dtype(kind).kind not in "iubO")


def _is_matrix(shapes: Shapes, name: str) -> bool:
    return len(shapes.shape(name) or ()) >= 2 and _is_float(shapes, name)


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
