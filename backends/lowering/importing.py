"""A graph as TVM sees it: imported into Relax, folded, lowered to loops and fused into one function a step.

Graph ──ONNX──▶ relax ──legalize, fuse──▶ main: a list of calls of PrimFuncs on tensors and constants
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from pruneir.backends.lowering.ranking import require_ranked, separated
from pruneir.deployment.prepare import foreign, require_numbers, require_unquantized
from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.onnx_io import to_model
from pruneir.shapes import Shapes, infer


def fused(graph: Graph, target: Any) -> tvm.IRModule:
    """The Relax module of a graph whose shapes are fixed, with every step one call of a fused PrimFunc.

    PruneirError, one line, for what the importer does not take.
    """
    _require_plain(graph)
    shapes = infer(graph)
    require_numbers(shapes)
    _require_exact(graph, shapes)
    require_ranked(graph, shapes)
    model = _as_imported(graph)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # what it says, it also raises
            warnings.simplefilter("ignore")  # of outputs whose shape is not declared
            module = from_onnx(model)
    except Exception as error:  # the importer raises many kinds
        said = first_line(error)
        first = next((op for op in graph.operators if re.search(rf"\b{re.escape(op.type)}\b", said)), None)
        other = foreign(first) if first is not None else None
        raise other or PruneirError(f"TVM cannot import the network: {_blamed(graph, first, said)}") from None
    if target.kind.name == "c" and any(operator.is_a("TopK") for operator in graph.operators):
        module = separated(module, graph)
    steps = relax.transform
    with target, _without_messages():
        try:
            return tvm.transform.Sequential(
                [
                    steps.DecomposeOpsForInference(),
                    steps.FoldConstant(),
                    steps.LegalizeOps(),
                    steps.AnnotateTIROpPattern(),
                    steps.FoldConstant(),
                    steps.FuseOps(),
                    steps.FuseTIR(),
                    steps.DeadCodeElimination(),
                    steps.RewriteDataflowReshape(),
                ]
            )(module)
        except Exception as error:
            raise PruneirError(f"TVM cannot lower the network: {first_line(error)}") from None


@contextmanager
def _without_messages() -> Iterator[None]:
    """Nothing reaches stderr meanwhile: TVM's C++ warns there of what holds for any network that gathers, and it is no
    Python stream.
    """
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _require_plain(graph: Graph) -> None:
    """PruneirError for a quantized graph, and for an input whose shape is not fixed or that is empty."""
    require_unquantized(graph)
    for name in graph.data_inputs:
        kind = graph.type_of(name)
        if kind is None or kind.shape is None or any(not isinstance(size, int) for size in kind.shape):
            shown = ",".join(str(size) if size else "?" for size in (kind.shape if kind and kind.shape else ()))
            raise PruneirError(f"input '{name}' has no fixed shape [{shown}]; give --input-shape {name}:1,…")
        if 0 in kind.shape:
            raise PruneirError(f"input '{name}' has no elements; give --input-shape {name}:1,…")


def _require_exact(graph: Graph, shapes: Shapes) -> None:
    """PruneirError for a Resize that the importer takes, and computes differently."""
    for operator in graph.operators:
        if not operator.is_a("Resize", "Upsample"):
            continue
        if operator.attribute("antialias"):
            raise PruneirError(f"{operator.label} ({operator.type}): antialias is not compiled; export it without")
        given = [shapes.value(name) for name in operator.inputs[1:] if name]
        scales = next((v for v in reversed(given) if v is not None and v.dtype.kind == "f" and v.size), None)
        size = shapes.shape(operator.inputs[0])
        if scales is not None and size is None:
            raise PruneirError(
                f"{operator.label} ({operator.type}): the shape of '{operator.inputs[0]}' is not known, so that scales"
                " may end within a pixel; give sizes"
            )
        if scales is not None and size is not None and scales.size == len(size):
            exact = scales * np.array(size)
            if np.abs(exact - np.round(exact)).max() > 1e-3:
                raise PruneirError(
                    f"{operator.label} ({operator.type}): scales that end within a pixel are not compiled; give sizes"
                )


def _as_imported(graph: Graph) -> onnx.ModelProto:
    """The model as the importer wants it: inputs called so that C can call them the same, TopK as it knows it."""
    model = to_model(graph)
    names = {name: graph.fresh_name(f"x{place}") for place, name in enumerate(graph.data_inputs)}
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        if node.op_type == "TopK" and not node.domain:
            _with_plain_k(node, graph)
        node.input[:] = [names.get(name, name) for name in node.input]
    return model


def _with_plain_k(node: onnx.NodeProto, graph: Graph) -> None:
    """TopK whose k is also where the importer looks for it before opset 11, and that is sorted, which one may be."""
    if len(node.input) < 2:
        return
    k = graph.constant(node.input[1])
    assert k is not None
    attributes = [each for each in node.attribute if each.name not in ("k", "sorted")]
    del node.attribute[:]
    node.attribute.extend([*attributes, onnx.helper.make_attribute("k", int(k.reshape(-1)[0]))])


def _blamed(graph: Graph, first: Operator | None, said: str) -> str:
    """What TVM says, and of which operator, as far as it names a type."""
    if first is None:
        return f"{said}; end the exported graph in front of it"
    alike = sum(op.type == first.type for op in graph.operators)
    where = f"one of {alike} {first.type}" if alike > 1 else f"{first.label} ({first.type})"
    return f"{where}: {said}; export it without, or end the graph in front of it"


def first_line(error: Exception) -> str:
    """What an error of TVM says, behind where it says it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
