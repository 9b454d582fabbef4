"""TopK, which is no loop nest: calls of a kernel in C (runtime/topk.h), the same on every processor.

    relax.topk(x)                 ──separated──▶ call_dps_packed("topk", x)      ──walk──▶ topk_8x400x1_40(x, y, places)
    slice(relax.topk(x)[0], −1)   ──separated──▶ call_dps_packed("topk.last", x) ──walk──▶ kth_8x400x1_40(x, y)

Of values of which the last alone is read, as a threshold is, nothing is sorted or kept: that takes O(n).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relax

from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.shapes import Shapes

HEADER = "topk.h"
_DIGITS = 256
"""Counters that the kernel needs."""
_ALL, _LAST = "topk", "topk.last"
_TOPK, _SLICE, _EXTERN = (tvm.ir.Op.get(f"relax.{name}") for name in ("topk", "strided_slice", "call_dps_packed"))


@dataclass(frozen=True, slots=True)
class Ranking:
    """The k largest, or smallest, along the middle axis of float32 [outer, length, inner].

    last  whether only the k-th is wanted; else values and int64 places, the first in order first
    """

    outer: int
    length: int
    inner: int
    k: int
    largest: bool
    last: bool

    @property
    def name(self) -> str:
        """What it is called in C."""
        return f"{self._what}_{self.outer}x{self.length}x{self.inner}_{self.k}"

    def __str__(self) -> str:
        return f"{self._what.replace('_', ' ')} {self.outer}×{self.length}×{self.inner}, k={self.k}"

    @property
    def _what(self) -> str:
        return ("kth" if self.last else "topk") + ("" if self.largest else "_least")

    @property
    def pointers(self) -> tuple[tuple[str, bool], ...]:
        """C types of its parameters, and whether it only reads there: numbers, results, workspace."""
        results = (("float", False),) if self.last else (("float", False), ("int64_t", False))
        return (("float", True), *results, ("uint8_t", False))

    @property
    def workspace(self) -> int:
        """Bytes."""
        return 4 * (_DIGITS if self.last else max(_DIGITS, self.k))

    def source(self, prefix: str) -> str:
        """Its C, to be put behind runtime/topk.h."""
        row = (
            f"const struct topk_row row = {{x + o * {self.length * self.inner} + i, {self.length}u, {self.inner}u, "
            f"{int(not self.largest)}u}};"
        )
        at = f"o * {self.k * self.inner} + i"
        if self.last:
            parameters = "const float *x, float *y, uint8_t *room"
            body = f"y[o * {self.inner} + i] = topk_number(topk_kth(&row, {self.k}u, (uint32_t *)room));"
        else:
            parameters = "const float *x, float *y, int64_t *places, uint8_t *room"
            body = f"topk_first(&row, {self.k}u, y + {at}, places + {at}, (uint32_t *)room);"
        return f"""
void {prefix}{self.name}({parameters})
{{
    for (size_t o = 0; o < {self.outer}; o++)
        for (size_t i = 0; i < {self.inner}; i++) {{
            {row}
            {body}
        }}
}}
"""


def header() -> str:
    """runtime/topk.h."""
    return (Path(__file__).parent / "runtime" / HEADER).read_text(encoding="utf-8")


def require_ranked(graph: Graph, shapes: Shapes) -> None:
    """PruneirError for a TopK that is no such call: of other numbers than float32, or of a k that is computed."""
    for operator in graph.operators:
        if not operator.is_a("TopK"):
            continue
        kind = shapes.elem_type(operator.inputs[0])
        if kind != onnx.TensorProto.FLOAT:
            fault = (
                "is not float32; put a Cast in front of it"
                if kind
                else f"is of no known type; declare that of '{operator.inputs[0]}' in the file"
            )
            raise PruneirError(f"{operator.label} (TopK): what it ranks {fault}")
        if len(operator.inputs) > 1 and graph.constant(operator.inputs[1]) is None:
            raise PruneirError(f"{operator.label} (TopK): k is computed when it runs; make it a constant")


def separated(module: tvm.IRModule, graph: Graph) -> tvm.IRModule:
    """The module that a graph was imported as, with calls of TVM's topk, those for a threshold among them, as calls of
    our kernels, numbered by their operators.
    """
    functions = dict(module.functions.items())
    values = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    calls, operators = sum(isinstance(each, relax.Call) and each.op.same_as(_TOPK) for each in values), _labels(graph)
    first = 0 if calls == len(operators) else len(operators)  # the importer has computed one itself
    functions[module.get_global_var("main")] = _Separating(module, first).visit_expr(module["main"])
    return tvm.IRModule(functions)


def label_of(call: Any, graph: Graph) -> str:
    """What the operator is called that a call of an extern function computes; empty where it is not known."""
    labels, number = _labels(graph), int(call.args[1].fields[1].values[-1])
    return labels[number] if number < len(labels) else ""


def ranking(call: Any) -> Ranking:
    """What a call of an extern function is."""
    given, details = call.args[1].fields
    axis, k, largest, _ = (int(each) for each in details.values)
    shape = tuple(int(each) for each in given.ty.shape.values)
    return Ranking(
        prod(shape[:axis]),
        shape[axis],
        prod(shape[axis + 1 :]),
        k,
        bool(largest),
        str(call.args[0].global_symbol) == _LAST,
    )


@relax.expr_functor.mutator
class _Separating(relax.PyExprMutator):
    def __init__(self, module: tvm.IRModule, number: int):
        super().__init__(module)
        self.number = number

    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        if call.op.same_as(_TOPK):
            x, rank = call.args[0], len(call.args[0].ty.shape)
            details = relax.ShapeExpr([call.attrs.axis % rank, call.attrs.k, int(call.attrs.largest), self.number])
            self.number += 1
            return relax.call_dps_packed(_ALL, [x, details], list(call.ty.fields))
        if call.op.same_as(_SLICE):
            last = self._last(call)
            return call if last is None else last
        return call

    def _last(self, call: Any) -> Any | None:
        """The k-th of a TopK alone, where a slice takes that of the values."""
        values = self.lookup_binding(call.args[0]) if isinstance(call.args[0], relax.Var) else None
        if not isinstance(values, relax.TupleGetItem) or values.index != 0 or len(call.args) != 5:
            return None
        ranked = self.lookup_binding(values.tuple_value)
        if not isinstance(ranked, relax.Call) or not ranked.op.same_as(_EXTERN) or ranked.args[0].global_symbol != _ALL:
            return None
        x, details = ranked.args[1].fields
        axis, k, *_ = (int(each) for each in details.values)
        axes, starts, _, steps = ([int(each) for each in given.fields] for given in call.args[1:5])
        is_last = [each % len(x.ty.shape) for each in axes] == [axis] and starts in ([-1], [k - 1]) and steps == [1]
        return relax.call_dps_packed(_LAST, [x, details], call.ty) if is_last else None


def _labels(graph: Graph) -> list[str]:
    return [operator.label for operator in graph.operators if operator.is_a("TopK")]
