"""What every schedule gives."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from pruneir.backends.cuda.schedules.gemm import Packing


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A function whose loops are bound to blocks and threads.

    schedule  what tables call it
    packing   constants that it wants in another layout
    """

    function: tirx.PrimFunc
    schedule: str
    packing: tuple[Packing, ...] = ()
