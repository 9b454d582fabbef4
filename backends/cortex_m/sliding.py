"""Padded rows that slide: what the next row of tiles reads again is moved within the slab, not read from the input.

    for r: slab ← rows r …; tiles          becomes     slab ← first rows; for r: slab ← last rows; tiles; slab up

So each row of the input is read once, before the row of the output in its place is written, and an output of the
input's shape may lie where the input does.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import stmt as st
from tvm_ffi import structural_equal

from pruneir.backends.cortex_m.assembly.expression import NotWritten
from pruneir.backends.cortex_m.epilogue import linear, nested
from pruneir.backends.lowering.visit import loads, reads


def slid(function: tirx.PrimFunc) -> tirx.PrimFunc | None:
    """The function, of plain loops, with the first padding in it sliding; None where there is none that can."""
    body = _slid(function.body)
    if body is None:
        return None
    made = tirx.PrimFunc(function.params, body, None, function.attrs)
    return tirx.transform.ConvertSSA()(tvm.IRModule({"main": made}))["main"]


def once(function: tirx.PrimFunc, place: int) -> bool:
    """Whether a parameter of the output's shape is read into padding, or where the output is stored, and only so."""
    data, out = function.params[place], function.params[-1]
    if [*map(int, data.shape)] != [*map(int, out.shape)] or str(data.dtype) != str(out.dtype):
        return False
    found = False
    for statement, read in reads(function.body):
        if not _is_of(read.source, data):
            continue
        found = True
        if not isinstance(statement, st.BufferStore):
            return False
        if _is_of(statement.buffer, out) and not structural_equal(read.indices[0], statement.indices[0]):
            return False
    return found


def _is_of(buffer: Any, parameter: Any) -> bool:
    """Whether a buffer may be a parameter, which is called the same with numbers behind."""
    return re.fullmatch(rf"{re.escape(parameter.name)}(_\d+)*", buffer.name) is not None


def _slid(s: Any) -> Any:
    """The statement with its padding sliding; None if it has none."""
    if isinstance(s, st.SeqStmt):
        statements = list(s.seq)
        for i, each in enumerate(statements):
            found = _slid(each)
            if found is not None:
                return st.SeqStmt([*statements[:i], found, *statements[i + 1 :]])
        return None
    if not isinstance(s, st.For):
        return None
    if not isinstance(s.body, st.SeqStmt):
        inner = _slid(s.body)
        return None if inner is None else _again(s, inner)
    alloc, *rest = s.body.seq
    if not isinstance(alloc, st.AllocBuffer) or not rest:
        return None
    try:
        return _rows(s, alloc, rest[0], rest[1:])
    except (NotWritten, ValueError):
        return None


def _rows(s: Any, alloc: Any, padding: Any, rest: list[Any]) -> Any:
    """The loop over rows of an output, whose body allocates, pads, and then reads what was padded."""
    loops, store = nested(padding)
    if not store.buffer.same_as(alloc.buffer) or int(s.extent) == 1:
        return None
    variables = [variable for variable, _ in loops]
    strides, start = linear(store.indices[0], variables)
    row, by, tap = _tap(s.loop_var, loops, store.value)
    if getattr(start, "value", None) != 0 or row is None:
        return None
    size, apart = prod(int(n) for n in alloc.buffer.shape), by * strides[row]
    at = tirx.Var("at", "int32")
    moved = st.BufferStore(alloc.buffer, tirx.BufferLoad(alloc.buffer, [at + apart]), [at])
    up = st.For(at, 0, size - apart, s.kind, moved, None, {}, None, None)
    first = _again(s, _between(padding, variables[row], 0, tap - by), 1)
    last = _between(padding, variables[row], tap - by, by)
    return st.SeqStmt([alloc, first, _again(s, st.SeqStmt([last, *rest, up]))])


def _tap(outer: Any, loops: list[tuple[Any, int]], value: Any) -> tuple[int | None, int, int]:
    """Which loop of a padding goes over its rows, how many of them a step of the outer loop is, and its length.

    None where no row is padded again as another row of the next step.
    """
    (load,) = loads(value)
    for place, (variable, length) in enumerate(loops):
        (far, near), _ = linear(load.indices[0], [outer, variable])
        by = far // near if near else 0
        if not 0 < by < length or far != by * near:
            continue
        if all(a == by * b for a, b in _compared(value.args[0], outer, variable)):
            return place, by, length
    return None, 0, 0


def _compared(condition: Any, *variables: Any) -> list[tuple[int, int]]:
    """How far each of two variables moves what a condition compares."""
    if type(condition).__name__ in ("And", "Or"):
        return _compared(condition.a, *variables) + _compared(condition.b, *variables)
    return [(a, b) for side in (condition.a, condition.b) for a, b in [linear(side, [*variables])[0]]]


def _between(s: Any, variable: Any, start: int, length: int) -> Any:
    """Loops, one of them over a part of its length."""
    if not isinstance(s, st.For):
        return s
    body = _between(s.body, variable, start, length)
    if not s.loop_var.same_as(variable):
        return _again(s, body)
    return st.For(s.loop_var, start, length, s.kind, body, s.thread_binding, s.annotations, s.step, s.span)


def _again(s: Any, body: Any, length: int | None = None) -> Any:
    """A loop with another body, and length."""
    extent = s.extent if length is None else length
    return st.For(s.loop_var, s.min, extent, s.kind, body, s.thread_binding, s.annotations, s.step, s.span)
