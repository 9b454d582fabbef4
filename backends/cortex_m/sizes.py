"""How much memory a program will need, before a compiler has seen it."""

from __future__ import annotations

import re
from pathlib import Path

from pruneir.artifact import Flash, Footprint, Ram
from pruneir.backends.cortex_m.project import aligned
from pruneir.backends.lowering.arena import Arena
from pruneir.backends.lowering.program import Program

_CODE = {"base": 600, "call": 30, "instruction": 3.98, "character": 0.5}
"""Bytes of Thumb-2 code: of vectors and libc, of a step in model_run, of a line of assembly, of a character of C that
TVM wrote. Means over the networks in models/ at -O3."""


def predicted(program: Program, arena: Arena) -> Footprint:
    """Constants, arena, inputs and outputs as they will be; the code estimated from its source."""
    text = _CODE["base"] + _CODE["call"] * len(program.calls)
    text += sum(_code(Path(name).suffix, source) for name, source in program.sources.items())
    weights = sum(aligned(each.nbytes) for each in program.constants)
    return Footprint(Flash(text=round(text), rodata=weights), Ram(arena=arena.size, io=io_bytes(program)))


def io_bytes(program: Program) -> int:
    """Bytes of the inputs and outputs, which the caller holds."""
    return sum(each.nbytes for each in (*program.inputs, *program.outputs))


def _code(suffix: str, source: str) -> float:
    """Bytes of machine code that a source becomes."""
    if suffix in (".s", ".S"):
        return _CODE["instruction"] * len(re.findall(r"^\s+[a-z][a-z0-9.]*\s", source, re.M))
    if suffix == ".c":
        return _CODE["character"] * len(re.sub(r"\s+", " ", source))
    return 0
