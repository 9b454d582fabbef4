"""Loops that compute element by element become calls of micro-kernels, as tiles that sum nothing.

Loops that continue each other in all arrays are one. The two innermost are tiled, as filters and points are; those
around them become loops of the micro-kernel, as many as it takes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tvm.sym import Analyzer

from pruneir.backends.cortex_m import choose
from pruneir.backends.cortex_m.assembly.expression import NotWritten
from pruneir.backends.cortex_m.assembly.finish import Operand, elementwise
from pruneir.backends.cortex_m.assembly.nest import Nest, Step
from pruneir.backends.cortex_m.epilogue import LOOPS, Numbers, Place, Stored, Tiles, nested

_CALL, _IN_C, _COPIED = 12, 2.0, 1.2
"""Instructions of a call; and of an element in C at least: beside its operations, and where it is copied."""
Loop = tuple[int, tuple[int, ...]]
"""A length, and how far it moves the output and each operand."""


def rows(statement: Any, numbers: Numbers, write: choose.Write) -> Tiles | None:
    """All of some loops as one micro-kernel; None where it cannot be, or not in few instructions."""
    try:
        loops, store = nested(statement)
        stored = Stored([variable for variable, _ in loops], numbers)
        out = stored.place(store.buffer, store.indices[0])
        value = stored.value(store.value)
    except ValueError:
        return None
    places = [out, *stored.operands]
    moves = [*zip(*(place.strides for place in places), strict=True)]
    merged = _merged([(length, move) for (_, length), move in zip(loops, moves, strict=True)])
    if not merged or merged[-1][1][0] != 1 or len(merged) > LOOPS + 1 or not all(move[0] for _, move in merged):
        return None
    if not all(_ahead(operand, out, len(merged) == 1) for operand in stored.operands):
        return None
    *outer, (filters, apart), (points, beside) = [(1, (0,) * len(places)), *merged]
    operands = tuple(Operand(f, p) for f, p in zip(apart[1:], beside[1:], strict=True))
    try:
        finish = elementwise(value, operands, apart[0], beside[0])
    except NotWritten:
        return None
    nest = Nest(1, 1, 1, (), finish=finish)
    count = filters * points
    for length, _ in outer:
        count *= length
    tile = choose.best(replace(nest, steps=(Step(1, ()),)), filters, points, write)
    if tile is None:
        return None
    steps = [*outer, (filters // tile.filters, _times(apart, tile.filters))]
    steps.append((points // tile.points, _times(beside, tile.points)))
    within = tuple(Step(n, (move[0], 0, 0, *move[1:])) for n, move in steps if n > 1)
    if len(within) > LOOPS:
        return None
    made = replace(nest, filters=tile.filters, points=tile.points, steps=within)
    an_element = _IN_C + len(finish.operations) if finish.operations else _COPIED
    if write("", made).instructions + _CALL > count * an_element:
        return None
    return Tiles(made, (out, out, out, *stored.operands))


def _ahead(operand: Place, out: Place, one: bool) -> bool:
    """Whether an operand holds what it did before the loops, when a tile of it is read; `one` for a single loop."""
    if not operand.buffer.same_as(out.buffer):
        return True
    distance = getattr(Analyzer().simplify(operand.index - out.index), "value", None)
    return operand.strides == out.strides and distance is not None and (distance == 0 or (one and distance > 0))


def _merged(loops: list[Loop]) -> list[Loop]:
    """Without loops of one, and with loops that continue each other made one."""
    found: list[Loop] = []
    for length, moves in loops:
        if length == 1:
            continue
        if found and found[-1][1] == _times(moves, length):
            found[-1] = (found[-1][0] * length, moves)
        else:
            found.append((length, moves))
    return found


def _times(moves: tuple[int, ...], length: int) -> tuple[int, ...]:
    return tuple(move * length for move in moves)
