"""A thread an output, its window unrolled: depthwise convolutions and pools, which read few numbers and share none."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir.dlight.gpu.matmul import auto_inline_consumer_chain, auto_inline_producers

from pruneir.backends.cuda.schedules.gemm import main_block, variables
from pruneir.backends.cuda.schedules.scheduled import Scheduled

TERMS = 64
"""Numbers that one thread adds up."""
UNROLLED = 32
THREADS = 128


def scheduled(function: tirx.PrimFunc) -> Scheduled | None:
    """The function as blocks and threads; None for one that slides no window, or one of more numbers."""
    sch = s_tir.Schedule(function)
    block = main_block(sch)
    if block is None:
        return None
    stored = sch.get(block)
    sizes = [each.dom.extent for each in stored.iter_vars if each.iter_type == tirx.IterVar.CommReduce]
    if not all(isinstance(size, tirx.IntImm) for size in sizes) or prod(map(int, sizes)) > TERMS or not _slides(stored):
        return None
    auto_inline_producers(sch, block)
    result = sch.cache_write(block, 0, "local")
    auto_inline_consumer_chain(sch, result)
    grid, thread = sch.split(sch.fuse(*sch.get_loops(result)), [None, THREADS])
    sch.bind(grid, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.compute_at(block, thread)
    if prod(map(int, sizes)) <= UNROLLED:
        for loop in sch.get_loops(block)[2:]:
            sch.unroll(loop)
    return Scheduled(sch.mod["main"], "window")


def _slides(block: Any) -> bool:
    """Whether an index is of both an output's variable and the window's."""
    sizes = ((each, each.dom.extent) for each in block.iter_vars)
    long = [each for each, size in sizes if not isinstance(size, tirx.IntImm) or int(size) > 1]
    window = {each.var for each in long if each.iter_type == tirx.IterVar.CommReduce}
    outputs = {each.var for each in long} - window
    held = [{*variables([index.min])} for read in block.reads for index in read.region]
    return any(each & window and each & outputs for each in held)
