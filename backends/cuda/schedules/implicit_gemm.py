"""An implicit matrix product on CUDA cores.

im2col is never in memory: a block of threads fetches the tiles A[k, i] and B[k, j] of a step of k into shared memory,
where positions outside are zeros, and every thread holds its part of C in registers. What follows (bias, activation,
residual) is done on that part.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir.dlight.gpu.matmul import auto_inline_consumer_chain, auto_inline_producers

from pruneir.backends.cuda.schedules import gemm as products
from pruneir.backends.cuda.schedules.scheduled import Scheduled
from pruneir.backends.cuda.schedules.tile import Tile, best

UNROLL = 256
"""Steps of the inner loops that are written out."""
SHARED = 4
"""How often an operand must be used for a copy in shared memory to pay."""


def scheduled(
    function: tirx.PrimFunc, constants: Collection[int] = (), *, tile: Tile | None = None, few: bool = False
) -> Scheduled | None:
    """The function as blocks and threads; None for one that is no matrix product.

    constants  places of its parameters whose layout may be changed
    tile       by default, what the model finds best
    few        take also those with so few pixels or filters that hardly any operand is used twice
    """
    sch = products.ungrouped(s_tir.Schedule(function))
    block = products.main_block(sch)
    if block is None:
        return None
    gemm = products.gemm_of(sch.get(block))
    if gemm is None or not (few or min(gemm.size("i"), gemm.size("j")) >= SHARED):
        return None
    if gemm.size("k") == 1:  # operands without an axis k cannot be padded with zeros along it
        return None
    tile = tile or best(gemm.size("i"), gemm.size("j"), gemm.size("k"), gemm.size("s"))
    packing = products.packed(sch, block, gemm, constants)
    products.normalized(sch, block, gemm, (tile.pixels, tile.filters, tile.depth))
    _bind(sch, block, tile)
    return Scheduled(sch.mod["main"], f"implicit-gemm {tile}", tuple(packing))


def _bind(sch: s_tir.Schedule, block: Any, tile: Tile) -> None:
    """Tiles to blocks, pixels and filters of a tile to threads, operands through shared memory."""
    batch, i, j, k = sch.get_loops(block)
    column, wide, across = sch.split(i, [None, tile.wide, tile.across])
    row, down, high = sch.split(j, [None, tile.down, tile.high])
    step, depth = sch.split(k, [None, tile.depth])
    sch.reorder(batch, row, column, wide, down, across, step, depth, high)
    bound = {"blockIdx.y": sch.fuse(batch, row), "blockIdx.x": column}
    # A thread's pixels lie apart, so that those of neighbouring threads are neighbours. TVM writes back what lies
    # between the first and the last of a thread's; as virtual threads each pixel is written back by itself.
    bound |= {"vthread.x": wide, "threadIdx.y": down, "threadIdx.x": across}
    for axis, loop in bound.items():
        sch.bind(loop, axis)
    sch.annotate(across, "pragma_auto_unroll_max_step", UNROLL)
    sch.annotate(across, "pragma_unroll_explicit", 1)

    result = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(result, across, preserve_unit_loops=True)
    for operand in (0, 1):
        fetched = sch.cache_read(block, operand, "shared")
        sch.compute_at(fetched, step, preserve_unit_loops=True)
        loops = sch.get_loops(fetched)[-3:]
        _, down, across = sch.split(sch.fuse(*loops), [None, tile.down, tile.across])
        sch.bind(down, "threadIdx.y")
        sch.bind(across, "threadIdx.x")
        auto_inline_producers(sch, fetched)
    auto_inline_consumer_chain(sch, result)
    sch.decompose_reduction(block, step)
