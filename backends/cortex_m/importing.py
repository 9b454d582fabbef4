"""A graph as TVM sees it: imported into Relax, folded, lowered to loops and fused into one function a step.

Graph ──ONNX──▶ relax ──legalize, fuse──▶ main: a list of calls of PrimFuncs on tensors and constants
"""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io import to_model

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")


def fused(graph: Graph, target: Any) -> tvm.IRModule:
    """The Relax module of a graph whose shapes are fixed, with every step one call of a fused PrimFunc.

    PruneirError, one line, for what the importer does not take.
    """
    _require_plain(graph)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # what it says, it also raises
            warnings.simplefilter("ignore")  # of outputs whose shape is not declared
            module = from_onnx(to_model(graph))
    except Exception as error:  # the importer raises many kinds
        raise PruneirError(f"TVM cannot import the network: {_first_line(error)}") from None
    steps = relax.transform
    with target:
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
            raise PruneirError(f"TVM cannot lower the network: {_first_line(error)}") from None


def _require_plain(graph: Graph) -> None:
    """PruneirError for a quantized graph, or a shape that is not fixed."""
    for operator in graph.operators:
        if operator.type.startswith(_QUANTIZED):
            raise PruneirError(
                f"{operator.label} ({operator.type}): quantized networks are not compiled; give the float32 network"
            )
    for name in graph.data_inputs:
        kind = graph.type_of(name)
        if kind is None or kind.shape is None or any(not isinstance(size, int) for size in kind.shape):
            shown = ",".join(str(size) if size else "?" for size in (kind.shape if kind and kind.shape else ()))
            raise PruneirError(f"input '{name}' has no fixed shape [{shown}]; give --input-shape {name}:1,…")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
