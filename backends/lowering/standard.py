"""Operators of other domains as ONNX's own: those of classical models, and those that ONNX Runtime's optimizer makes.

What ONNX's own operators cannot say, or is said in an unusual way, stays, and is refused where it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import numpy as np
from onnx import TensorProto

from pruneir.backends.lowering.writer import Writer
from pruneir.deployment.prepare import cleaned
from pruneir.graph import Graph, Operator

Rule = Callable[[Writer, Operator], object]
"""Writes what an operator is; a false result where it is left as it is."""
_RULES: dict[tuple[str, str], Rule] = {}
_ML, _RUNTIME = "ai.onnx.ml", "com.microsoft"


def standard(graph: Graph) -> Graph:
    """The graph, or a copy with fewer operators of other domains."""
    found = [operator for operator in graph.operators if (operator.domain, operator.type) in _RULES]
    if not found:
        return graph
    whole = graph.copy()
    for operator in found:
        writer = Writer(whole, operator.label)
        if _RULES[operator.domain, operator.type](writer, operator):
            whole.replace(operator, *writer.made)
    return cleaned(whole)  # these end what is known of shapes


def _rule(domain: str, *types: str) -> Callable[[Rule], Rule]:
    def kept(rule: Rule) -> Rule:
        _RULES.update({(domain, each): rule for each in types})
        return rule

    return kept


# Of ONNX Runtime


@_rule(_RUNTIME, "Gelu", "BiasGelu")
def _gelu(writer: Writer, operator: Operator) -> str:
    """½·x·(1 + erf(x/√2)), of x and a bias."""
    x = writer.call("Add", *operator.inputs) if _has(operator, 1) else operator.inputs[0]
    one = writer.call("Add", writer.call("Erf", _times(writer, x, sqrt(0.5))), writer.number(1.0))
    return writer.call("Mul", _times(writer, x, 0.5), one, to=operator.outputs[0])


@_rule(_RUNTIME, "FastGelu")
def _fast_gelu(writer: Writer, operator: Operator) -> str:
    """½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), of x and a bias."""
    x = writer.call("Add", *operator.inputs) if _has(operator, 1) else operator.inputs[0]
    cube = writer.call("Mul", writer.call("Mul", x, x), x)
    inner = writer.call("Add", x, _times(writer, cube, 0.044715))
    one = writer.call("Add", writer.call("Tanh", _times(writer, inner, sqrt(2 / pi))), writer.number(1.0))
    return writer.call("Mul", _times(writer, x, 0.5), one, to=operator.outputs[0])


@_rule(_RUNTIME, "QuickGelu")
def _quick_gelu(writer: Writer, operator: Operator) -> str:
    """x·σ(α·x)."""
    (x,) = operator.inputs
    gate = writer.call("Sigmoid", _times(writer, x, operator.attribute("alpha", 1.702)))
    return writer.call("Mul", x, gate, to=operator.outputs[0])


@_rule(_RUNTIME, "FusedConv", "FusedGemm")
def _fused(writer: Writer, operator: Operator) -> bool:
    """A convolution or product, something that is added, and an activation."""
    kind = operator.type.removeprefix("Fused")
    names = ("activation", "activation_params", "activation_alpha", "activation_beta", "activation_gamma")
    own = {key: value for key, value in operator.attributes.items() if key not in names}
    activation = operator.attribute("activation", "")
    params = [float(each) for each in operator.attribute("activation_params", ())]
    if kind == "Gemm" and (params or any(name in operator.attributes for name in names[2:])):
        return False
    made = writer.call(kind, *operator.inputs[:3], name=operator.label, **own)
    if _has(operator, 3):
        made = writer.call("Add", made, operator.inputs[3])
    if activation in ("Relu", "Tanh", "Sigmoid"):
        writer.call(activation, made, to=operator.outputs[0])
    elif activation == "LeakyRelu" and len(params) == 1:
        writer.call(activation, made, to=operator.outputs[0], alpha=params[0])
    elif activation == "HardSigmoid" and len(params) == 2:
        writer.call(activation, made, to=operator.outputs[0], alpha=params[0], beta=params[1])
    elif activation == "Clip" and len(params) == 2:
        low, high = (writer.number(each) for each in params)
        writer.call("Min", writer.call("Max", made, low), high, to=operator.outputs[0])
    else:
        return False
    return True


# Of classical models


@_rule(_ML, "Scaler")
def _scaler(writer: Writer, operator: Operator) -> str:
    """(x − offset) · scale."""
    x = _floating(writer, operator.inputs[0])
    moved = writer.call("Sub", x, writer.constant(_floats(operator, "offset")))
    return writer.call("Mul", moved, writer.constant(_floats(operator, "scale")), to=operator.outputs[0])


@_rule(_ML, "Normalizer")
def _normalizer(writer: Writer, operator: Operator) -> object:
    """Rows by their norm."""
    x = _floating(writer, operator.inputs[0])
    kind = {"L1": "ReduceL1", "L2": "ReduceL2"}.get(operator.attribute("norm", "MAX"))
    if kind is None:
        return None
    norm = writer.call("Max", writer.reduced(kind, x, -1), writer.number(np.finfo(np.float32).tiny))
    return writer.call("Div", x, norm, to=operator.outputs[0])


@_rule(_ML, "ArrayFeatureExtractor")
def _features(writer: Writer, operator: Operator) -> object:
    """Entries along the last axis: of a constant vector these are one row."""
    table = writer.graph.constant(operator.inputs[0])
    if table is None or table.dtype.kind not in "iuf":
        return None
    rows = writer.constant(table.reshape(-1, table.shape[-1]) if table.ndim < 2 else table)
    return writer.call("Gather", rows, writer.shaped(operator.inputs[1], (-1,)), to=operator.outputs[0], axis=-1)


@_rule(_ML, "LinearRegressor")
def _regressor(writer: Writer, operator: Operator) -> object:
    """x · coefficients + intercepts."""
    if operator.attribute("post_transform", "NONE") != "NONE":
        return None
    return _scores(writer, operator, operator.attribute("targets", 1), to=operator.outputs[0])


@_rule(_ML, "LinearClassifier")
def _classifier(writer: Writer, operator: Operator) -> object:
    """The label of the highest score, and all scores; not of two classes that have one score between them."""
    labels = operator.attribute("classlabels_ints")
    after = operator.attribute("post_transform", "NONE")
    kinds = {"NONE": "Identity", "LOGISTIC": "Sigmoid", "SOFTMAX": "Softmax"}
    count = len(labels or ())
    if not count or after not in kinds or len(operator.attribute("intercepts", ())) != count:
        return None
    scores = _scores(writer, operator, count)
    if _has(operator, 1, operator.outputs):
        writer.call(kinds[after], scores, to=operator.outputs[1])
    best = writer.call("ArgMax", scores, axis=-1, keepdims=0)
    return writer.call("Gather", writer.constant(np.array(labels, np.int64)), best, to=operator.outputs[0])


def _scores(writer: Writer, operator: Operator, count: int, to: str = "") -> str:
    x = _floating(writer, operator.inputs[0])
    matrix = writer.constant(_floats(operator, "coefficients").reshape(count, -1).T)
    product = writer.call("MatMul", x, matrix, name=operator.label)
    return writer.call("Add", product, writer.constant(_floats(operator, "intercepts", [0.0] * count)), to=to)


# All


def _floating(writer: Writer, value: str) -> str:
    kind = writer.graph.type_of(value)
    return value if kind is not None and kind.elem_type == TensorProto.FLOAT else writer.cast(value, TensorProto.FLOAT)


def _times(writer: Writer, value: str, factor: float) -> str:
    return writer.call("Mul", value, writer.number(factor))


def _floats(operator: Operator, name: str, default: Any = ()) -> np.ndarray:
    return np.array(operator.attribute(name, default), np.float32)


def _has(operator: Operator, place: int, among: tuple[str, ...] | None = None) -> bool:
    names = operator.inputs if among is None else among
    return place < len(names) and bool(names[place])
