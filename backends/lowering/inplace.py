"""What a lowered function does with its parameters' memory: which it writes, and what it may write in place of."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Any

from tvm import tirx
from tvm.tirx import stmt as st
from tvm_ffi import structural_equal

from pruneir.backends.lowering.visit import reads, stores


def in_place(function: tirx.PrimFunc, constants: Collection[int]) -> tuple[int, ...]:
    """Parameters that the last, the output, may be written in place of: read only where the output is stored.

    There are none if the output is read, too: what is collected there begins before the last of them is read.
    """
    *inputs, out = function.params
    named = {buffer.name for buffer in function.params}
    together: dict[str, list[bool]] = {buffer.name: [] for buffer in function.params}
    for statement, read in reads(function.body):
        to_out = isinstance(statement, st.BufferStore) and _base(statement.buffer.name, named) == out.name
        alike = to_out and structural_equal(read.indices[0], statement.indices[0])
        together.setdefault(_base(read.source.name, named), []).append(alike)
    if together[out.name]:
        return ()
    return tuple(
        place
        for place, buffer in enumerate(inputs)
        if place not in constants and str(buffer.dtype) == str(out.dtype) and _size(buffer) == _size(out)
        if together[buffer.name] and all(together[buffer.name])
    )


def written(function: tirx.PrimFunc) -> set[str]:
    """Names of the parameters that a function stores to."""
    named = {buffer.name for buffer in function.params}
    return {_base(store.buffer.name, named) for store in stores(function.body)}


def _base(name: str, parameters: set[str]) -> str:
    """The parameter that a flattened buffer is of, by its name."""
    return name if name in parameters else name.rpartition("_")[0]


def _size(buffer: Any) -> int:
    return prod(int(n) for n in buffer.shape)
