"""The default schedule: elementwise steps inlined, sums cleared before the loops that add; sums of products."""

from __future__ import annotations

from contextlib import suppress
from math import prod
from typing import Any

import tvm
import tvm_ffi.serialization
from tvm import ir, s_tir, tirx

REDUCE = 2
"""What TVM calls a loop over the terms of a sum."""


def opened(function: tirx.PrimFunc) -> tuple[Any, list[Any]]:
    """A schedule of a copy of the function, and its blocks in order."""
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    own = tvm_ffi.serialization.from_json_graph_str(tvm_ffi.serialization.to_json_graph_str(module))
    schedule = s_tir.Schedule(own)  # which writes into what it gets
    return schedule, schedule.get_child_blocks(schedule.get_sblock("root"))


def reduces(block: Any) -> bool:
    """Whether a block sums over one of its loops."""
    return any(int(iv.iter_type) == REDUCE for iv in block.iter_vars)


def inlined(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with everything inlined that is computed once for each element, but for its last block.

    Sums are cleared before the loops that add, so that these can keep them in registers.
    """
    schedule, blocks = opened(function)
    for block in blocks:
        if reduces(schedule.get(block)):
            kinds = [int(iv.iter_type) for iv in schedule.get(block).iter_vars]
            with suppress(s_tir.schedule.ScheduleError):  # its loops are no loops of its own
                schedule.decompose_reduction(block, schedule.get_loops(block)[kinds.index(REDUCE)])
        elif block is not blocks[-1]:
            with suppress(s_tir.schedule.ScheduleError):  # read beyond what it computes, or twice
                schedule.compute_inline(block)
    return schedule.mod["main"].without_attr("global_symbol")


def macs(function: tirx.PrimFunc) -> int:
    """Multiply-accumulates of a function: those of its sums of products; 0 without one."""
    schedule, blocks = opened(function)
    sums = [block for block in map(schedule.get, blocks) if products(block) is not None]
    return sum(prod(int(each.dom.extent) for each in block.iter_vars) for block in sums)


def products(block: Any) -> tuple[Any, Any] | None:
    """The two loads whose product a block adds to its output, as it reads them; None if it does something else."""
    store = getattr(block, "body", None)
    if not isinstance(store, tirx.BufferStore) or not isinstance(store.value, tirx.Add) or len(block.reads) != 2:
        return None
    product = store.value.b
    if not isinstance(product, tirx.Mul):
        return None
    loads = [each.value if isinstance(each, tirx.Cast) else each for each in (product.a, product.b)]
    if not all(isinstance(each, ir.TensorLoad) for each in loads):
        return None
    if not loads[0].source.same_as(block.reads[0].source):
        loads.reverse()
    return loads[0], loads[1]
