"""Convolutions and products as implicit matrix products: C[s, i, j] += A[s, i, k] · B[s, j, k].

The loops of a reduction sort themselves by the operands that they index: pixels i by data and output, filters j by
weights and output, k by data and weights, groups and batches s by all three. So dense, grouped, dilated, transposed,
1-, 2- and 3-dimensional convolutions and matrix products are one schedule. A is the operand that the output's innermost
axis comes from, so that neighbouring threads write neighbouring numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import s_tir, sym, tirx
from tvm_ffi import structural_map, structural_walk

from pruneir.backends.lowering.default import products

_KINDS = {
    (True, True, True): "s",
    (True, False, True): "i",
    (False, True, True): "j",
    (True, True, False): "k",
}


@dataclass(frozen=True, slots=True)
class Gemm:
    """A reduction as a matrix product.

    kinds    of each loop, one of s, i, j, k
    extents  of each loop
    first    which of the two operands is A: 0 or 1
    dtype    of the operands
    """

    kinds: str
    extents: tuple[int, ...]
    first: int
    dtype: str

    def size(self, kind: str) -> int:
        """The product of the loops of one kind."""
        return prod(extent for extent, each in zip(self.extents, self.kinds, strict=True) if each == kind)


@dataclass(frozen=True, slots=True)
class Packing:
    """How a kernel wants a constant: parameter `place`, its axes in another order."""

    place: int
    axes: tuple[int, ...]


def main_block(sch: s_tir.Schedule) -> Any | None:
    """The only reduction of a function; None if there is none, or several."""
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    found = [b for b in blocks if any(v.iter_type == tirx.IterVar.CommReduce for v in sch.get(b).iter_vars)]
    return found[0] if len(found) == 1 else None


def gemm_of(block: Any) -> Gemm | None:
    """How a block that sums products is a matrix product; None if it is none, or a size is not fixed."""
    operands = products(block)
    extents = [each.dom.extent for each in block.iter_vars]
    if operands is None or not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return None
    sizes = {each.var: int(each.dom.extent) for each in block.iter_vars}
    held = [{*variables(load.indices)} for load in operands]
    output = variables(block.body.indices)
    innermost = next((each for each in reversed(output) if sizes[each] > 1), None)
    first = int(innermost is not None and innermost not in held[0])
    kinds = ""
    for variable, size in sizes.items():
        at = (variable in held[first], variable in held[1 - first], variable in output)
        if at not in _KINDS and size > 1:
            return None
        kinds += _KINDS.get(at, "s" if at[2] else "k")
    return Gemm(kinds, tuple(sizes.values()), first, str(operands[0].source.dtype))


def ungrouped(sch: s_tir.Schedule) -> s_tir.Schedule:
    """Split loops that the data see by their quotient alone: filters f of a grouped convolution, to f // n, f % n."""
    block = main_block(sch)
    operands = None if block is None else products(sch.get(block))
    if operands is None:
        return sch
    found: dict[Any, int] = {}

    def look(node: Any) -> None:
        if isinstance(node.a, tirx.Var) and isinstance(node.b, tirx.IntImm):
            found[node.a] = int(node.b)

    for index in operands[0].indices:
        structural_walk(index, (tirx.FloorDiv, look))
    loops, split = [], []
    for each in sch.get(block).iter_vars:
        loop = tirx.Var(each.var.name, "int64")
        loops.append(loop)
        size = found.get(each.var)
        split += [loop] if size is None else [tirx.floordiv(loop, size), tirx.floormod(loop, size)]
    if len(split) == len(loops):
        return sch
    sch.transform_block_layout(block, tirx.IndexMap(loops, split, None))
    analyzer = sym.Analyzer()
    for each in sch.get(block).iter_vars:
        analyzer.bind(each.var, each.dom)
    return s_tir.Schedule(structural_map(sch.mod["main"], (tirx.FloorDiv, analyzer.simplify)))


def packed(sch: s_tir.Schedule, block: Any, gemm: Gemm, constants: Collection[int]) -> list[Packing]:
    """Reorder the axes of constant operands as their tiles are fetched: batches, then k, then pixels or filters."""
    function = sch.mod["main"]
    places = {each.name: place for place, each in enumerate(function.params)}
    stored = sch.get(block)
    kinds = {each.var: kind for each, kind in zip(stored.iter_vars, gemm.kinds, strict=True)}
    found = []
    for operand, load in enumerate(products(stored) or ()):
        place = places.get(load.source.name)
        held = [variables([index]) for index in load.indices]
        if place is None or place not in constants or not all(len(each) < 2 for each in held):
            continue
        rank = ["skij".index(kinds[each[0]]) if each else 0 for each in held]
        axes = tuple(sorted(range(len(rank)), key=rank.__getitem__))
        if axes != tuple(range(len(rank))):
            loops = [tirx.Var(f"a{axis}", "int64") for axis in axes]
            sch.transform_layout(block, ("read", operand), tirx.IndexMap(loops, [loops[axis] for axis in axes], None))
            found.append(Packing(place, axes))
    return found


def normalized(sch: s_tir.Schedule, block: Any, gemm: Gemm, multiples: tuple[int, int, int]) -> None:
    """Bring a block into the form C[s, j, i] += A[s, k, i] · B[s, k, j], i, j and k padded with zeros to multiples."""
    operands = [sch.reindex(block, ("read", place)) for place in (gemm.first, 1 - gemm.first)]
    output = sch.reindex(block, ("write", 0))
    stored = sch.get(block)  # now every index is a loop; loops of one step may be in none
    kinds = {each.var: kind for each, kind in zip(stored.iter_vars, gemm.kinds, strict=True)}
    sizes = {each.var: int(each.dom.extent) for each in stored.iter_vars}

    def fused(indices: Sequence[Any], order: str) -> tirx.IndexMap:
        """From these loops to one axis a kind, in that order."""
        loops: list[Any] = []
        axes: dict[str, Any] = {}
        for variable in indices:
            loops.append(tirx.Var(f"a{len(loops)}", "int64"))
            kind = kinds[variable]
            axes[kind] = axes[kind] * sizes[variable] + loops[-1] if kind in axes else loops[-1]
        return tirx.IndexMap(loops, [axes.get(kind, tirx.IntImm("int64", 0)) for kind in order], None)

    loads = products(stored)
    assert loads is not None
    maps = [fused(loads[gemm.first].indices, "ski"), fused(loads[1 - gemm.first].indices, "skj")]
    for operand, each in zip(operands, maps, strict=True):
        sch.transform_layout(operand, ("write", 0), each)
    sch.transform_layout(output, ("read", 0), fused(stored.body.indices, "sji"))
    sch.transform_block_layout(block, fused([each.var for each in stored.iter_vars], "sijk"))
    sch.pad_einsum(block, [1, *multiples])


def variables(expressions: Sequence[Any]) -> list[Any]:
    """The variables in expressions, from left to right."""
    found: list[Any] = []
    for expression in expressions:
        structural_walk(expression, (tirx.Var, found.append))
    return found
