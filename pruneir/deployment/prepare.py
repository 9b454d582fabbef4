"""What a backend gets to compile: sizes fixed where it needs that, cleaned up, BatchNorms folded."""

from __future__ import annotations

from onnx import TensorProto

from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.pipeline import registry
from pruneir.pipeline.passes import Context
from pruneir.shapes import Shapes, infer, with_input_shapes

_CLEAN_UP = ("fold", "fold-bn")
"""Lossless passes, in order."""
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_FOREIGN = {
    "com.microsoft": "an operator of ONNX Runtime's optimizer; give the network as it was before",
    "ai.onnx.ml": "an operator of classical models; export without it (skl2onnx: zipmap=False), or end in front of it",
}
"""What an operator of another domain is, and what helps."""


def cleaned(graph: Graph) -> Graph:
    """The same function with fewer operators."""
    for name in _CLEAN_UP:
        graph = registry.get(name)().run(graph, Context(graph)).graph
    return graph


def with_fixed_sizes(graph: Graph, target: str) -> Graph:
    """The graph with a batch of one where that is symbolic. PruneirError for every other symbolic size."""
    types = {name: graph.type_of(name) for name in graph.data_inputs}
    shapes = {name: kind.shape for name, kind in types.items() if kind is not None and kind.shape is not None}
    for name in types:
        if name not in shapes:
            raise PruneirError(f"input '{name}' has no shape, and {target} needs one; give --input-shape {name}:…")
    batch = {shape[0] for shape in shapes.values() if shape and not _is_fixed(shape[0])}
    fixed: dict[str, tuple[int | str, ...]] = {}
    for name, shape in shapes.items():
        sizes = tuple(1 if not _is_fixed(s) and (not axis or (s and s in batch)) else s for axis, s in enumerate(shape))
        for axis, size in enumerate(sizes):
            if not _is_fixed(size):
                asked = ",".join(str(s) if _is_fixed(s) else "…" for s in sizes)
                raise PruneirError(
                    f"input '{name}': axis {axis} is symbolic ({size or 'without a name'}), and {target} needs fixed "
                    f"sizes; give --input-shape {name}:{asked}"
                )
        if sizes != shape:
            fixed[name] = tuple(int(size) for size in sizes if size is not None)
    return with_input_shapes(graph, fixed)


def known_shapes(graph: Graph) -> Shapes:
    """The shapes of all values.

    PruneirError, one line, for one that depends on the data, for a value of text, and for a quantized graph.
    """
    require_unquantized(graph)
    shapes = infer(graph)
    for operator in graph.operators:
        for output in filter(None, operator.outputs):
            if shapes.shape(output) is None:
                raise foreign(operator) or PruneirError(
                    f"{operator.label} ({operator.type}): the shape of '{output}' depends on the data, or is unknown; "
                    "end the exported graph in front of it"
                )
    require_numbers(shapes)
    return shapes


def foreign(operator: Operator) -> PruneirError | None:
    """What to say of an operator that is none of ONNX's own and not compiled; None for one that is."""
    if operator.domain not in _FOREIGN:
        return None
    return PruneirError(f"{operator.label} ({operator.type}): is not compiled: {_FOREIGN[operator.domain]}")


def require_unquantized(graph: Graph) -> None:
    """PruneirError, one line, for a quantized graph."""
    for operator in graph.operators:
        if operator.type.startswith(_QUANTIZED):
            raise PruneirError(
                f"{operator.label} ({operator.type}): quantized networks are not compiled; give the float32 network"
            )


def require_numbers(shapes: Shapes) -> None:
    """PruneirError, one line, for a value of text."""
    for name, kind in shapes.types.items():
        if kind.elem_type == TensorProto.STRING:
            raise PruneirError(f"'{name}' holds text, which is not compiled; export the network behind its tokenizer")


def _is_fixed(size: int | str | None) -> bool:
    return isinstance(size, int) and size >= 0
