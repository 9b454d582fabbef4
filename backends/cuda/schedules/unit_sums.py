"""Sums of one term, without the sum: TVM would put what follows into its beginning and its step, and do it twice."""

from __future__ import annotations

from typing import Any

from tvm import ir, s_tir, tirx
from tvm_ffi import structural_map


def without_unit_sums(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function, its reductions over loops of one step written as what they make of their first value."""
    return structural_map(function, (s_tir.SBlock, _plain))


def _plain(block: Any) -> Any:
    steps = [each for each in block.iter_vars if each.iter_type == tirx.IterVar.CommReduce]
    if block.init is None or not steps or not all(_is_one(each.dom.extent) for each in steps):
        return block
    store, first = block.body, block.init
    if not isinstance(store, tirx.BufferStore) or not isinstance(first, tirx.BufferStore):
        return block

    def begun(load: Any) -> Any:
        return first.value if load.source.same_as(store.buffer) else load

    axes = [tirx.IterVar(each.dom, each.var, tirx.IterVar.DataPar, each.thread_tag) for each in block.iter_vars]
    body = tirx.BufferStore(store.buffer, structural_map(store.value, (ir.TensorLoad, begun)), store.indices)
    return s_tir.SBlock(
        axes, block.reads, block.writes, block.name_hint, body, None, block.alloc_buffers, block.match_buffers,
        block.annotations,
    )  # fmt: skip


def _is_one(extent: Any) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent) == 1
