"""A network as a straight list of C function calls on named buffers: what is left when nothing is decided at run time.

    Graph ──lower──▶ Program ──place──▶ offsets in the arena ──write──▶ C project

Every value is a buffer: an input, an output, a constant, or a temporary that lives in the arena between the calls that
write and read it. A reshape is no call but an alias: two names of one memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from pruneir.storage import Storage, together


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory of a value, of rows that follow each other without gaps."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its size."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A buffer in flash, `values` in the order in which its kernel reads them."""

    name: str
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        """Its size."""
        return int(self.values.nbytes)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A C function `void name(…)` of pointers: the C type that each points to, and whether it only reads there.

    divided  whether its work is items that threads share: `void name(void *const *p, void *scratch, long begin, long
             end)`, the pointers in one array
    """

    name: str
    parameters: tuple[tuple[str, bool], ...]
    divided: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One step.

    kernel      function that is called
    arguments   names of buffers, in the order of its parameters
    reads, writes, workspaces   the arguments by what is done to them; a workspace lives for this call alone
    inplace     pairs (written, read): the call may write the first where the second lies, element by element
    layer       what a table calls it
    macs        multiply-accumulates
    schedule    how it is computed: the register tile, or `default`
    items       of work that threads share, for a kernel that is divided
    scratch     bytes of private memory that each thread needs meanwhile
    storage     of its weights, where leaving out their zeros was considered
    weights     name of the constant that holds these, as its kernel reads them; empty where there are none
    """

    kernel: str
    arguments: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    workspaces: tuple[str, ...] = ()
    inplace: tuple[tuple[str, str], ...] = ()
    layer: str = ""
    macs: int = 0
    schedule: str = "default"
    items: int = 1
    scratch: int = 0
    storage: Storage | None = None
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """The whole network.

    temporaries  values between calls, and workspaces: what the arena holds
    aliases      a value that is another value's memory, by name
    sources      C and assembly files by name
    """

    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    constants: tuple[Constant, ...]
    temporaries: tuple[Buffer, ...]
    calls: tuple[Call, ...]
    kernels: tuple[Kernel, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def owner(self, name: str) -> str:
        """The value whose memory a value is."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def storages(self) -> tuple[Storage, ...]:
        """How the weights of layers with zeros are stored; what several layers read counts once."""
        found: dict[tuple[str, str], list[Storage]] = {}
        for call in self.calls:
            if call.storage is not None:
                named = replace(call.storage, layer=call.layer or call.kernel)
                found.setdefault((call.weights, str(named.format)), []).append(named)
        return tuple(together(each, shared=True) for each in found.values())
