"""From a graph to a program: every step a bare C function, reductions on register tiles.

Graph ──importing──▶ Relax ──schedule, nests, bare──▶ C and assembly ──walk──▶ Program
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import tvm
from tvm import tirx

from pruneir.backends.cortex_m import choose
from pruneir.backends.cortex_m.assembly import fpv4, mve
from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge
from pruneir.backends.cortex_m.cpus import Cpu
from pruneir.backends.cortex_m.nests import Nests, Packing
from pruneir.backends.cortex_m.schedule import Reduction, Tile, reduction_of, tiled
from pruneir.backends.lowering import bare
from pruneir.backends.lowering.default import inlined
from pruneir.backends.lowering.importing import fused
from pruneir.backends.lowering.order import order as ordered
from pruneir.backends.lowering.program import Program
from pruneir.backends.lowering.walk import C_TYPES, Lowered, Lowering
from pruneir.errors import PruneirError
from pruneir.graph import Graph


def lowered(graph: Graph, cpu: Cpu) -> Program:
    """The program of a graph with fixed shapes. PruneirError, one line, for what cannot be compiled."""
    target = tvm.target.Target({"kind": "c", "mcpu": cpu.name})
    target = target.with_host(target)
    program: Program = _Lowering(graph, target, fused(graph, target), cpu=cpu).program()
    return ordered(program)


@dataclass(slots=True)
class _Lowering(Lowering):
    cpu: Cpu = field(kw_only=True)
    kernels: dict[Nest, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    @property
    def write(self) -> choose.Write:
        """What writes micro-kernels for this processor."""
        return mve.write if self.cpu.mve else fpv4.write

    def function(self, name: str, function: tirx.PrimFunc, constants: list[int], exact: bool) -> Lowered:
        unknown = sorted({str(buffer.dtype) for buffer in function.params} - C_TYPES.keys())
        if unknown:
            raise PruneirError(f"{name}: tensors of {', '.join(unknown)} are not compiled; give the network in float32")
        reduction = reduction_of(function, constants) if self.cpu.fpu else None
        made = self._tiled(function, reduction, exact and not reduction.padded) if reduction is not None else None
        body, packing, schedule = made or (bare.lowered(inlined(function), self.target), None, "default")
        lowered: Lowered = self.plain(
            name,
            body,
            constants,
            packing=packing,
            weights=reduction.weights if packing is not None and reduction is not None else -1,
            macs=prod(reduction.loops) * reduction.terms if reduction is not None else 0,
            schedule=schedule,
        )
        return lowered

    def _tiled(self, function: tirx.PrimFunc, reduction: Reduction, exact: bool) -> tuple[Any, Packing, str] | None:
        """The function on register tiles; None where no tile can be written for it."""
        try:
            filters, points = reduction.count
            probe = Tile(min(filters, 2), min(points, 2))
            _, one = self._nested(function, reduction, probe, lambda nest: "none")
            tile = choose.best(one.nest, filters, points, self.write, exact=exact)
            if tile is None:
                return None
            body, found = self._nested(function, reduction, tile, self._kernel)
        except (ValueError, TooLarge, RuntimeError):  # TVM's schedules refuse by RuntimeError
            return None
        return body, found.packing, f"tile {tile}"

    def _nested(self, function: tirx.PrimFunc, reduction: Reduction, tile: Tile, name: Any) -> tuple[Any, Any]:
        flat = bare.lowered(tiled(function, reduction, tile), self.target)
        nests = Nests(tile, name)
        body = nests.body(flat)
        assert nests.found is not None
        return tirx.PrimFunc(flat.params, body, None, flat.attrs), nests.found

    def _kernel(self, nest: Nest) -> str:
        """The micro-kernel of a nest, written once."""
        nest = nest.merged()
        if nest not in self.kernels:
            name = f"tile_{len(self.kernels)}"
            self.texts.append(self.write(name, nest).text)
            self.kernels[nest] = name
        return self.kernels[nest]

    def sources(self) -> dict[str, str]:
        """Kernels in C, micro-kernels in assembly."""
        text = self.text()
        if self.cpu.extremes:
            text = bare.with_extremes(text)
        head = "#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n"
        found = {"kernels.c": head + text}
        if self.texts:
            found["tiles.S"] = "\n".join(["    .syntax unified", "    .thumb", "    .text", "", *self.texts])
        return found
