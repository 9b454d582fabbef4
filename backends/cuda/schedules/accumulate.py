"""Sums of float16 products held in float32, as tensor cores hold them: in float16, long sums lose small terms."""

from __future__ import annotations

from typing import Any

from tvm import ir, s_tir, tirx
from tvm_ffi import structural_map

from pruneir.backends.cuda.schedules.gemm import gemm_of, main_block


def in_float32(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with its sum of float16 products in float32; as it is, if it has none."""
    sch = s_tir.Schedule(function)
    block = main_block(sch)
    gemm = None if block is None else gemm_of(sch.get(block))
    if gemm is None or gemm.dtype != "float16" or str(sch.get(block).writes[0].source.dtype) != "float16":
        return function
    if any(sch.get(block).writes[0].source.same_as(each) for each in function.params):
        sch.cache_write(block, 0, "global")
    sch.unsafe_set_dtype(block, 0, "float32")
    return structural_map(sch.mod["main"], (tirx.Cast, _widened))


def _widened(cast: Any) -> Any:
    """Float32 of (float16 of C) + A·B as C + (float32 of A)·(float32 of B), and of a float16 number as the number."""
    if str(cast.ty.dtype) != "float32":
        return cast
    value = cast.value
    if isinstance(value, tirx.FloatImm):
        return tirx.FloatImm("float32", float(value.value))
    if isinstance(value, tirx.Add) and isinstance(value.a, tirx.Cast) and isinstance(value.b, tirx.Mul):
        held, product = value.a.value, value.b
        if isinstance(held, ir.TensorLoad) and str(held.source.dtype) == "float32":
            return held + tirx.Cast("float32", product.a) * tirx.Cast("float32", product.b)
    return cast
