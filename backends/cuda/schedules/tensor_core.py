"""Products of float16 matrices on tensor cores, summed in float32: TVM's schedule for `wmma`, of convolutions too."""

from __future__ import annotations

from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir import dlight

from pruneir.backends.cuda.schedules.gemm import gemm_of, main_block, ungrouped
from pruneir.backends.cuda.schedules.scheduled import Scheduled

LEAST = 64
"""Pixels, filters and terms: the tile has 128 x 128 x 64, and what is not there is multiplied all the same."""


def scheduled(function: tirx.PrimFunc, target: Any) -> Scheduled | None:
    """The function as blocks and warps; None for one that is no large product of float16 matrices summed in float32."""
    sch = ungrouped(s_tir.Schedule(function))
    block = main_block(sch)
    gemm = None if block is None else gemm_of(sch.get(block))
    if gemm is None or gemm.dtype != "float16" or str(sch.get(block).writes[0].source.dtype) != "float32":
        return None
    if min(gemm.size(kind) for kind in "ijk") < LEAST:
        return None
    made = dlight.gpu.matmul.MatmulTensorization().apply(sch.mod["main"], target, False)
    return None if made is None else Scheduled(made.mod["main"], "tensor-core 128x128x64")
