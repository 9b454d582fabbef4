"""Schedules: where the register tile of a reduction lies in its loops, and what is computed beside it.

A fused function is  pad? → reduction → epilogue.  The epilogue's loops are tiled, filters × points; the reduction is
computed tile by tile in front of the epilogue of the same tile, and its loop nest marked, to become a call of a
micro-kernel (`nests`), which takes in the epilogue and the loops over tiles where it can. Padding is written for as
much as a row of tiles reads, or for a channel where channels do not mix.

    for rows: pad; for filters / F, points / P: [nest F × P]; epilogue F × P
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import s_tir, tirx
from tvm.sym import detect_linear_equation

from pruneir.backends.lowering.default import REDUCE, opened, reduces

MARK = "pruneir.nest"


@dataclass(frozen=True, slots=True)
class Tile:
    """Sums of one call of a micro-kernel: filters × points."""

    filters: int
    points: int

    def __str__(self) -> str:
        return f"{self.filters}×{self.points}"


@dataclass(frozen=True, slots=True)
class Reduction:
    """The one reduction of a fused function: a sum of data, or of their products with constant weights.

    index     its place among the function's blocks
    loops     lengths of its spatial loops; `filters` and `points` are places among them, None where there is none
    terms     lengths of its reduction loops, with the stride of the data in elements, innermost last
    padded    whether the data are padded first
    weights   place of the weights among the parameters; None where what is summed is not weighted
    """

    index: int
    loops: tuple[int, ...]
    filters: int | None
    points: int | None
    terms: int
    padded: bool
    weights: int | None

    @property
    def count(self) -> tuple[int, int]:
        """How many filters and points there are."""
        filters = self.loops[self.filters] if self.filters is not None else 1
        return filters, self.loops[self.points] if self.points is not None else 1

    @property
    def macs(self) -> int:
        """Products of data and weights."""
        return prod(self.loops) * self.terms if self.weights is not None else 0

    @property
    def apart(self) -> bool:
        """Whether an image is padded as a whole, and then nothing but its own output is computed."""
        return self.padded and self.filters is None and not _is_one_row(self) and len(self.loops) > 3


def reduction_of(function: tirx.PrimFunc, constants: Collection[int]) -> Reduction | None:
    """The reduction of a function that a micro-kernel can serve; None if there is none such.

    constants  places of the parameters that are constants
    """
    schedule, blocks = opened(function)
    sums = [i for i, block in enumerate(blocks) if reduces(schedule.get(block))]
    if len(sums) != 1:
        return None
    block = schedule.get(blocks[sums[0]])
    spatial = [iv for iv in block.iter_vars if int(iv.iter_type) != REDUCE]
    reduced = [iv for iv in block.iter_vars if int(iv.iter_type) == REDUCE]
    loads = terms_of(block)
    if loads is None:
        return None
    names = {buffer.name: place for place, buffer in enumerate(function.params)}
    weighing = [load for load in loads if names.get(load.source.name) in constants]
    if len(weighing) != len(loads) - 1:
        return None
    variables = [iv.var for iv in (*spatial, *reduced)]
    (in_data,) = (_strides(load, variables) for load in loads if load not in weighing)
    in_weight = _strides(weighing[0], variables) if weighing else [0] * len(variables)
    if in_weight is None or in_data is None:
        return None
    lengths = [int(iv.dom.extent) for iv in spatial]
    filters = [i for i in range(len(spatial)) if in_weight[i] and not in_data[i]]
    points = [i for i in range(len(spatial)) if in_data[i] and not in_weight[i] and lengths[i] > 1]
    if len(filters) > 1:
        return None
    last = points[-1] if points else None
    padded = any("if_then_else" in str(schedule.get(each).body) for each in blocks[: sums[0]])
    terms = 1
    for iv in reduced:
        terms *= int(iv.dom.extent)
    place = names[weighing[0].source.name] if weighing else None
    return Reduction(sums[0], tuple(lengths), filters[0] if filters else None, last, terms, padded, place)


def tiled(function: tirx.PrimFunc, reduction: Reduction, tile: Tile) -> tirx.PrimFunc:
    """The function with its reduction computed tile by tile, the nest of each tile marked.

    ValueError where a term is no longer read, or multiplied, as it is: a norm sums squares.
    """
    schedule, blocks = separated(function, reduction)
    block, before, behind = blocks[reduction.index], blocks[: reduction.index], blocks[reduction.index + 1 :]
    for each in before:
        if not reduction.padded:
            schedule.compute_inline(each)
    if len(terms_of(schedule.get(block)) or ()) != (1 if reduction.weights is None else 2):
        raise ValueError("what is summed is computed on the way")
    if reduction.filters is not None and reduction.points is not None and reduction.filters > reduction.points:
        order = [i for i in range(len(reduction.loops)) if i != reduction.points] + [reduction.points]
        schedule.transform_layout(block, ("write", 0), lambda *index: [index[i] for i in order])
    out = epilogue_of(schedule, reduction, behind)
    outer: list[tuple[int, Any]] = []
    inner: list[Any] = []
    for place, loop in enumerate(schedule.get_loops(out)):
        if place not in (reduction.filters, reduction.points):
            outer.append((place, loop))
            continue
        upper, lower = schedule.split(loop, [None, tile.filters if place == reduction.filters else tile.points])
        outer.append((place, upper))
        inner.append(lower)
    ordered = _ordered(outer, reduction)
    schedule.reorder(*ordered, *inner)
    at = ordered[-1]
    schedule.compute_at(block, at, preserve_unit_loops=True)
    nest = schedule.get_loops(block)[len(ordered) :]
    kinds = [int(iv.iter_type) for iv in schedule.get(block).iter_vars]
    summed = nest[len(nest) - sum(kind == REDUCE for kind in kinds) :]
    spatial = nest[: len(nest) - len(summed)]
    schedule.reorder(*spatial, *summed)
    schedule.annotate(nest[0], MARK, 1)
    if reduction.padded:
        rows = _pad_at(outer, reduction)
        for each in reversed(before):
            if rows is None:
                continue
            schedule.compute_at(each, rows, preserve_unit_loops=True)
            if reduction.filters is None:
                inside = next(i for i, loop in enumerate(ordered) if loop is rows) + 1
                _filled(schedule, each, schedule.get_loops(each)[inside])
    return schedule.mod["main"].without_attr("global_symbol")


def separated(function: tirx.PrimFunc, reduction: Reduction) -> tuple[Any, list[Any]]:
    """A schedule of a function, and its blocks, the reduction with one behind it that reads its sums."""
    schedule, blocks = opened(function)
    behind = blocks[reduction.index + 1 :]
    if not behind or _lengths(schedule, behind[0]) != reduction.loops:
        schedule.cache_write(blocks[reduction.index], 0, "global")
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return schedule, blocks


def epilogue_of(schedule: Any, reduction: Reduction, behind: list[Any]) -> Any:
    """The block that the reduction is computed for.

    What is computed for each sum is inlined into it; where a block repeats sums, as a gate does over an image, the
    epilogue ends in front of it, and what follows is inlined into the last.
    """
    alike = 0
    for each in behind:
        if _lengths(schedule, each) != reduction.loops:
            break
        alike += 1
    *inlined, out = behind[:alike]
    for each in (*inlined, *behind[alike:-1]):
        schedule.compute_inline(each)
    return out


def _filled(schedule: Any, block: Any, loop: Any) -> None:
    """Let a padding write zeros everywhere and then copy rows, if it can, instead of asking for each element."""
    with suppress(s_tir.schedule.ScheduleError):
        schedule.decompose_padding(block, loop)


def _ordered(outer: list[tuple[int, Any]], reduction: Reduction) -> list[Any]:
    """Outer loops: rows before filters, so that a padded row serves them all; channels first where they do not mix.

    Where there is but one row, it is padded tile by tile.
    """
    last = [loop for place, loop in outer if place == reduction.points]
    filters = [loop for place, loop in outer if place == reduction.filters]
    rest = [loop for place, loop in outer if place not in (reduction.points, reduction.filters)]
    return [*rest, *last, *filters] if _is_one_row(reduction) else [*rest, *filters, *last]


def _pad_at(outer: list[tuple[int, Any]], reduction: Reduction) -> Any:
    """The loop that padding is written in: the innermost one outside of filters and points, but rows alone."""
    rest = [(place, loop) for place, loop in outer if place not in (reduction.points, reduction.filters)]
    if _is_one_row(reduction):
        return next(loop for place, loop in outer if place == reduction.points)
    if reduction.filters is None and len(rest) > 1:
        return rest[-2][1]
    return rest[-1][1] if rest else None


def _is_one_row(reduction: Reduction) -> bool:
    """Whether padding has no loop of its own: filters and points are all that is long, as in 1-D convolutions."""
    own = (reduction.filters, reduction.points)
    rest = [length for place, length in enumerate(reduction.loops) if place not in own]
    return reduction.padded and reduction.points is not None and all(length == 1 for length in rest)


def _lengths(schedule: Any, block: Any) -> tuple[int, ...]:
    return tuple(int(schedule.get(loop).extent) for loop in schedule.get_loops(block))


def terms_of(block: Any) -> list[Any] | None:
    """The loads of  sum ← sum + a · b  or  sum ← sum + a;  None for another body."""
    value: Any = getattr(block.body, "value", None)
    if type(value).__name__ != "Add":
        return None
    loads = [value.b.a, value.b.b] if type(value.b).__name__ == "Mul" else [value.b]
    return loads if all(hasattr(load, "indices") for load in loads) else None


def _strides(load: Any, variables: list[Any]) -> list[int] | None:
    """How far each variable moves a load, in elements; None where an index is not linear."""
    shape = [int(size) for size in load.source.shape]
    found = [0] * len(variables)
    stride = 1
    for size, index in zip(reversed(shape), reversed(list(load.indices)), strict=True):
        coefficients = detect_linear_equation(index, variables)
        if len(coefficients) != len(variables) + 1:
            return None
        for i, coefficient in enumerate(list(coefficients)[:-1]):
            found[i] += int(coefficient) * stride
        stride *= size
    return found
