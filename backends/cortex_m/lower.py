"""From a graph to a program: every step a bare C function, reductions and loops over elements in micro-kernels.

Graph ──importing──▶ Relax ──schedule, sliding, nests, bare──▶ C and assembly ──walk──▶ Program
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import tvm
from tvm import relax, tirx

from pruneir.backends.cortex_m import sparse
from pruneir.backends.cortex_m.apart import apart
from pruneir.backends.cortex_m.cpus import Cpu
from pruneir.backends.cortex_m.epilogue import Numbers
from pruneir.backends.cortex_m.microkernels import MicroKernels
from pruneir.backends.cortex_m.nests import Nests
from pruneir.backends.cortex_m.rates import Rates
from pruneir.backends.cortex_m.reducing import Made, Reducing, with_body
from pruneir.backends.cortex_m.schedule import reduction_of
from pruneir.backends.cortex_m.transposed import as_convolutions
from pruneir.backends.lowering import bare
from pruneir.backends.lowering.default import inlined, macs
from pruneir.backends.lowering.importing import fused
from pruneir.backends.lowering.inplace import in_place
from pruneir.backends.lowering.order import order as ordered
from pruneir.backends.lowering.program import Program
from pruneir.backends.lowering.recurrent import written_out
from pruneir.backends.lowering.standard import standard
from pruneir.backends.lowering.visit import stores
from pruneir.backends.lowering.walk import Lowered, Lowering, content, is_constant
from pruneir.graph import Graph


def lowered(graph: Graph, cpu: Cpu) -> Program:
    """The program of a graph with fixed shapes. PruneirError, one line, for what cannot be compiled."""
    target = tvm.target.Target({"kind": "c", "mcpu": cpu.name})
    target = target.with_host(target)
    graph = as_convolutions(written_out(standard(graph)))
    rates = Rates(graph)
    module = fused(graph, target)
    if cpu.fpu:
        module = apart(module, lambda each: sparse.has_zeros(each) or rates.of(each) < 1)
    program: Program = _Lowering(graph, target, module, cpu=cpu, rates=rates, kernels=MicroKernels(cpu)).program()
    return ordered(program)


@dataclass(slots=True)
class _Lowering(Lowering):
    cpu: Cpu = field(kw_only=True)
    rates: Rates = field(kw_only=True)
    kernels: MicroKernels = field(kw_only=True)

    def function(self, name: str, function: tirx.PrimFunc, constants: list[int], exact: bool) -> Lowered:
        self.require_types(name, function)
        numbers = self._numbers_of(name, function)
        reduction = reduction_of(function, constants) if self.cpu.fpu else None
        made = None
        if reduction is not None:
            place, exact = reduction.weights, exact and not reduction.padded
            weights = () if place is None else tuple(content(call[place]) for call in self._arguments(name))
            rates = tuple(map(self.rates.of, weights))
            made = Reducing(function, reduction, numbers, weights, rates, exact, self.kernels, self.target).made()
        made = made or self._default(function, numbers)
        lowered = self.plain(
            name,
            made.body,
            constants,
            packing=made.packing,
            weights=reduction.weights if made.packing is not None and reduction is not None else -1,
            macs=reduction.macs if reduction is not None else macs(function),
            storages=made.storages,
            schedule=made.schedule or (f"tile {made.tile}" if made.tile is not None else "default"),
        )
        alike = in_place(made.flat, constants)
        inplace = {*made.inplace, *alike} - {*constants}
        found: Lowered = replace(
            lowered, pointers=_written(made.flat, lowered.pointers), inplace=tuple(sorted(inplace))
        )
        return found

    def _default(self, function: tirx.PrimFunc, numbers: Numbers) -> Made:
        """The function by the default schedule, its loops over elements by micro-kernels."""
        flat = bare.lowered(inlined(function), self.target)
        if not self.cpu.fpu:
            return Made(flat, flat)
        return Made(flat, with_body(flat, Nests(self.kernels.nest, numbers, write=self.kernels.write).body(flat)))

    def _numbers_of(self, name: str, function: tirx.PrimFunc) -> dict[str, float]:
        """Constants of one element that a function gets in all of its calls."""
        found = {}
        for parameter, values in zip(function.params, zip(*self._arguments(name), strict=True), strict=False):
            first, *others = {_number(value) for value in values}
            if first is not None and not others:
                found[parameter.name] = first
        return found

    def _arguments(self, name: str) -> list[list[Any]]:
        """What a function gets, call by call."""
        bindings = [binding.value for block in self.module["main"].body.blocks for binding in block.bindings]
        return [
            list(call.args[1].fields)
            for call in bindings
            if isinstance(call, relax.Call) and call.op.name == "relax.call_tir" and call.args[0].name_hint == name
        ]

    def sources(self) -> dict[str, str]:
        """Kernels in C, micro-kernels in assembly."""
        text = self.text()
        if self.cpu.extremes:
            text = bare.with_extremes(text)
        head = "#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n"
        found = {"kernels.c": head + text}
        tiles = self.kernels.source()
        if tiles:
            found["tiles.S"] = tiles
        return found


def _written(function: tirx.PrimFunc, pointers: tuple[tuple[str, bool], ...]) -> tuple[tuple[str, bool], ...]:
    """The pointers, const only where the function does not store, be it by a micro-kernel, which C does not show."""
    names = {store.buffer.name for store in stores(function.body)}
    names |= {name.rpartition("_")[0] for name in names}
    of_parameters = zip(function.params, pointers, strict=False)
    found = [(ctype, const and buffer.name not in names) for buffer, (ctype, const) in of_parameters]
    return (*found, *pointers[len(found) :])


def _number(value: Any) -> float | None:
    """The number that a constant of one element is."""
    if not is_constant(value):
        return None
    found = content(value)
    return float(found.ravel()[0]) if found.size == 1 and found.dtype.name == "float32" else None
