"""PrimFuncs with a bare C interface: pointers in, nothing out, no runtime behind.

TVM's own lowering ends in packed calls that its runtime unpacks. Here the passes stop before: every buffer parameter
becomes a raw pointer, and allocations of 512 bytes or more become pointers to workspaces, which the arena planner
places.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, tirx
from tvm.tirx import stmt as st

_WORKSPACE = 512
"""Bytes from which on an allocation is a workspace; smaller ones lie on the stack."""


def _absolute(call: Any) -> Any:
    """|x| of a float, for which TVM's C has no word."""
    return tirx.call_pure_extern(call.ty, "fabsf" if str(call.ty.dtype) == "float32" else "fabs", *call.args)


tirx.register_intrin_lowering("tirx.fabs", target="c", f=_absolute)


@dataclass(frozen=True, slots=True)
class Bare:
    """A function with pointer parameters, its workspaces (bytes each) behind."""

    function: tirx.PrimFunc
    workspaces: tuple[int, ...]


def lowered(function: tirx.PrimFunc, target: Any) -> tirx.PrimFunc:
    """The function as plain loops over flat buffers."""
    return _passes(
        function,
        target,
        [
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.StmtSimplify(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.FlattenBuffer(),
            tirx.transform.NarrowDataType(32),
            tirx.transform.StmtSimplify(),
        ],
    )


def finished(function: tirx.PrimFunc, target: Any) -> tirx.PrimFunc:
    """The same after the passes that make loops fast and small."""
    return _passes(
        function,
        target,
        [
            s_tir.transform.LoopPartition(),
            tirx.transform.VectorizeLoop(False),
            tirx.transform.StorageRewrite(),
            s_tir.transform.HoistIfThenElse(),
            tirx.transform.UnrollLoop(),
            s_tir.transform.RenormalizeSplitPattern(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            s_tir.transform.RewriteUnsafeSelect(),
            tirx.transform.CommonSubexprElim(),
        ],
    )


def bare(function: tirx.PrimFunc, name: str) -> Bare:
    """The function under a C name, with raw pointers for buffers."""
    parameters, declared = [], []
    for buffer in function.params:
        pointer = tirx.Var(re.sub(r"\W", "_", f"p_{buffer.name}", flags=re.A), tirx.buffer_data_pointer_type(buffer))
        parameters.append(pointer)
        declared.append(st.DeclBuffer(buffer, data=pointer))
    hoisting = _Hoisting()
    body = hoisting.without(function.body)
    whole = tirx.PrimFunc([*parameters, *hoisting.pointers], st.SeqStmt([*declared, body]), None, function.attrs)
    whole = whole.with_attr("global_symbol", name).with_attr("tirx.noalias", True)
    return Bare(whole, tuple(hoisting.sizes))


def c_source(functions: dict[str, tirx.PrimFunc], target: Any) -> str:
    """C of the functions, without what belongs to TVM's runtime."""
    module = tirx.transform.LowerIntrin()(tvm.IRModule(functions))
    text = tvm.get_global_func("target.build.c")(module, target).inspect_source()
    text = re.sub(r'^#include "tvm.*\n', "", text, flags=re.M)
    text = re.sub(r"\binff?\b", "INFINITY", text)
    return text.replace("void* __tvm_ffi__library_ctx = NULL;\n", "").replace("TVM_DLL ", "")


def restricted(text: str, name: str, places: Collection[int]) -> str:
    """The C text with some pointers of a function declared to be the only way to their memory."""

    def declared(match: re.Match[str]) -> str:
        parameters = match[2].split(", ")
        told = [p.replace("* ", "* restrict ") if i in places else p for i, p in enumerate(parameters)]
        return match[1] + ", ".join(told) + match[3]

    return re.sub(rf"^(void {name}\()(.*)(\) \{{)$", declared, text, flags=re.M)


def bound(text: str, name: str, values: Mapping[str, float]) -> str:
    """The C text with numbers in the place of pointers to one, in a function: what the compiler knows it can use."""

    def written(match: re.Match[str]) -> str:
        body = match[0]
        for pointer, value in values.items():
            body = re.sub(rf"(?<!&\()\b{pointer}\[0\]", f"({value.hex()}f)", body)
        return body

    return re.sub(rf"^void {name}\([^\n]*\) \{{$.*?^\}}$", written, text, flags=re.M | re.S)


def with_extremes(text: str) -> str:
    """The C text with comparisons that choose the larger or smaller number as such, for processors that have these."""
    chosen = re.compile(r"\(([\w.+-]+)\) ([<>]) \(([\w.+-]+)\) \? \(\1\) : \(\3\)")
    return _EXTREMES + chosen.sub(lambda m: f"{'LARGER' if m[2] == '>' else 'SMALLER'}({m[1]}, {m[3]})", text)


_EXTREMES = "".join(
    f"#define {name}(a, b) _Generic((a), float: __builtin_{builtin}((a), (b)), default: (a) {sign} (b) ? (a) : (b))\n"
    for name, builtin, sign in (("LARGER", "fmaxf", ">"), ("SMALLER", "fminf", "<"))
)


class _Hoisting:
    """Takes large allocations out of a body."""

    def __init__(self) -> None:
        self.pointers: list[Any] = []
        self.sizes: list[int] = []

    def without(self, s: Any) -> Any:
        """The statement with its large allocations declared on pointers."""
        if isinstance(s, st.SeqStmt):
            return st.SeqStmt([self.without(each) for each in s.seq])
        if isinstance(s, st.For):
            body = self.without(s.body)
            return st.For(s.loop_var, s.min, s.extent, s.kind, body, s.thread_binding, s.annotations, s.step, s.span)
        if isinstance(s, st.IfThenElse):
            other = self.without(s.else_case) if s.else_case is not None else None
            return st.IfThenElse(s.condition, self.without(s.then_case), other)
        if isinstance(s, st.AttrStmt):
            return st.AttrStmt(s.node, s.attr_key, s.value, self.without(s.body))
        if isinstance(s, st.AllocBuffer):
            buffer = s.buffer
            size = prod(int(n) for n in buffer.shape) * np.dtype(str(buffer.dtype)).itemsize
            if size >= _WORKSPACE:
                pointer = tirx.Var(f"ws{len(self.sizes)}_p", tirx.buffer_data_pointer_type(buffer))
                self.pointers.append(pointer)
                self.sizes.append(size)
                return st.DeclBuffer(buffer, data=pointer)
        return s


def _passes(function: tirx.PrimFunc, target: Any, passes: list[Any]) -> tirx.PrimFunc:
    module = tirx.transform.BindTarget(target)(tvm.IRModule({"main": function}))
    return tvm.transform.Sequential(passes)(module)["main"]
