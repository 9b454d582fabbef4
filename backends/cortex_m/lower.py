"""From a graph to a program: every step a bare C function, reductions and loops over elements in micro-kernels.

Graph ──importing──▶ Relax ──schedule, sliding, nests, bare──▶ C and assembly ──walk──▶ Program
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import tvm
from tvm import relax, tirx

from pruneir.backends.cortex_m import choose, columns, sparse
from pruneir.backends.cortex_m.apart import apart
from pruneir.backends.cortex_m.assembly import skip
from pruneir.backends.cortex_m.assembly.nest import TooLarge
from pruneir.backends.cortex_m.columns import Cost, Way
from pruneir.backends.cortex_m.cpus import Cpu
from pruneir.backends.cortex_m.epilogue import Numbers
from pruneir.backends.cortex_m.microkernels import MicroKernels
from pruneir.backends.cortex_m.nests import Found, Nests
from pruneir.backends.cortex_m.packing import Packing
from pruneir.backends.cortex_m.rates import Rates
from pruneir.backends.cortex_m.schedule import Reduction, Tile, reduction_of, tiled
from pruneir.backends.cortex_m.skipping import layer_of, marked, skipping
from pruneir.backends.cortex_m.sliding import once, slid
from pruneir.backends.cortex_m.sparse import StreamPacking
from pruneir.backends.cortex_m.storages import compared
from pruneir.backends.lowering import bare
from pruneir.backends.lowering.default import inlined
from pruneir.backends.lowering.importing import fused
from pruneir.backends.lowering.inplace import in_place
from pruneir.backends.lowering.order import order as ordered
from pruneir.backends.lowering.program import Program
from pruneir.backends.lowering.visit import stores
from pruneir.backends.lowering.walk import C_TYPES, Lowered, Lowering, content, is_constant
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.storage import Storage


def lowered(graph: Graph, cpu: Cpu) -> Program:
    """The program of a graph with fixed shapes. PruneirError, one line, for what cannot be compiled."""
    target = tvm.target.Target({"kind": "c", "mcpu": cpu.name})
    target = target.with_host(target)
    rates = Rates(graph)
    module = apart(fused(graph, target), lambda each: sparse.has_zeros(each) or rates.of(each) < 1)
    program: Program = _Lowering(graph, target, module, cpu=cpu, rates=rates, kernels=MicroKernels(cpu)).program()
    return ordered(program)


@dataclass(frozen=True, slots=True)
class _Made:
    """A function as plain loops, and with micro-kernels called.

    tile     of its reduction, where that is computed by tiles, and how its weights are packed
    inplace  parameters that the output may be written in place of, because they are padded before
    schedule  what a table says of it; empty for its tile, or that it has none
    storages  of the weights of each call, where leaving out their zeros was considered
    """

    flat: tirx.PrimFunc
    body: tirx.PrimFunc
    tile: Tile | None = None
    packing: Packing | StreamPacking | Way | None = None
    inplace: tuple[int, ...] = ()
    schedule: str = ""
    storages: tuple[Storage, ...] = ()


@dataclass(slots=True)
class _Lowering(Lowering):
    cpu: Cpu = field(kw_only=True)
    rates: Rates = field(kw_only=True)
    kernels: MicroKernels = field(kw_only=True)

    def function(self, name: str, function: tirx.PrimFunc, constants: list[int], exact: bool) -> Lowered:
        unknown = sorted({str(buffer.dtype) for buffer in function.params} - C_TYPES.keys())
        if unknown:
            raise PruneirError(f"{name}: tensors of {', '.join(unknown)} are not compiled; give the network in float32")
        numbers = self._numbers_of(name, function)
        reduction = reduction_of(function, constants) if self.cpu.fpu else None
        made = None
        if reduction is not None:
            made = self._tiled(name, function, reduction, exact and not reduction.padded, numbers)
        made = made or self._default(function, numbers)
        lowered = self.plain(
            name,
            made.body,
            constants,
            packing=made.packing,
            weights=reduction.weights if made.packing is not None and reduction is not None else -1,
            macs=reduction.macs if reduction is not None else 0,
            storages=made.storages,
            schedule=made.schedule or (f"tile {made.tile}" if made.tile is not None else "default"),
        )
        alike = in_place(made.flat, constants)
        inplace = {*made.inplace, *alike} - {*constants}
        found: Lowered = replace(
            lowered, pointers=_written(made.flat, lowered.pointers), inplace=tuple(sorted(inplace))
        )
        return found

    def _default(self, function: tirx.PrimFunc, numbers: Numbers) -> _Made:
        """The function by the default schedule, its loops over elements by micro-kernels."""
        flat = bare.lowered(inlined(function), self.target)
        if not self.cpu.fpu:
            return _Made(flat, flat)
        return _Made(flat, _with(flat, Nests(self.kernels.nest, numbers, write=self.kernels.write).body(flat)))

    def _tiled(
        self, name: str, function: tirx.PrimFunc, reduction: Reduction, exact: bool, numbers: Numbers
    ) -> _Made | None:
        """The function on register tiles; None where no tile can be written for it."""
        try:
            filters, points = reduction.count
            probe = self._probed(function, reduction, numbers, Tile(_least_factor(filters), _least_factor(points)))
            tile = choose.best(probe.nest, filters, points, self.kernels.write, exact=exact)
            if tile is None:
                return None
            found, storages = self._sparse(name, function, reduction, tile, numbers)
            if found is not None:
                return replace(found, storages=storages)
            costs = [choose.cost(probe.nest, tile, filters, points, self.kernels.write)] * len(self._arguments(name))
            made = self._skipping(name, function, reduction, costs, probe.packing, numbers)
            if made is not None:
                return made
            nests = Nests(self.kernels.nest, numbers, tile, self.kernels.write)
            return replace(self._nested(function, reduction, nests), storages=storages)
        except (ValueError, TooLarge, RuntimeError):  # TVM's schedules refuse by RuntimeError
            return None

    def _probed(self, function: tirx.PrimFunc, reduction: Reduction, numbers: Numbers, tile: Tile) -> Found:
        """What the nest of a tile becomes."""
        probe = Nests(lambda nest: "none", numbers, tile)
        self._nested(function, reduction, probe)
        assert probe.found is not None
        return probe.found

    def _sparse(
        self, name: str, function: tirx.PrimFunc, reduction: Reduction, dense: Tile, numbers: Numbers
    ) -> tuple[_Made | None, tuple[Storage, ...]]:
        """The function without the zeros of its weights, or None, and what each format of these takes."""
        storages: tuple[Storage, ...] = ()
        if reduction.weights is None:
            return None, storages
        weights = [content(call[reduction.weights]) for call in self._arguments(name)]
        if not any(sparse.has_zeros(each) for each in weights):
            return None, storages
        filters, points = reduction.count
        with suppress(ValueError, TooLarge, RuntimeError):
            packing = self._probed(function, reduction, numbers, dense).packing
            assert isinstance(packing, Packing)
            for at_once in dict.fromkeys((_least_factor(points), 1)):
                probe = self._probed(function, reduction, numbers, Tile(_least_factor(filters), at_once))
                terms = sparse.terms(probe.nest, probe.packing, filters)
                found = sparse.ways(probe.nest, terms, points, weights, self.kernels.write, self.kernels.lanes)
                most = choose.cost(probe.nest, dense, filters, points, self.kernels.write)
                if most is None or not found:
                    continue
                choice, made = sparse.best(found, most), None
                if choice is not None:
                    stream = StreamPacking(terms, choice.stream)
                    skips = self._skipping(name, function, reduction, choice.costs, stream, numbers)
                    if skips is not None:
                        return skips, ()
                    nests = Nests(self.kernels.nest, numbers, choice.tile, self.kernels.write, choice.stream)
                    made = replace(self._nested(function, reduction, nests), schedule=choice.described(weights))
                rows = reduction.macs // (filters * points * terms.distances.size)
                stored = compared(found, choice, terms, weights, (packing, most), rows)
                if made is not None:
                    return made, stored
                storages = storages or stored
        return None, storages

    def _skipping(
        self,
        name: str,
        function: tirx.PrimFunc,
        reduction: Reduction,
        costs: Sequence[int],
        packing: Packing | StreamPacking | None,
        numbers: Numbers,
    ) -> _Made | None:
        """The function with inputs skipped that are zero; None unless that takes fewer instructions.

        costs, packing  instructions of all tiles of a row, for the weights of each call, and how these are packed
        """
        if reduction.weights is None or packing is None:
            return None
        weights = [content(call[reduction.weights]) for call in self._arguments(name)]
        rates = [self.rates.of(each) for each in weights]
        if max(rates) == 1:
            return None
        rows = prod(reduction.loops) // prod(reduction.count)
        others = [Cost(rows * n, packing.pack(each).nbytes) for n, each in zip(costs, weights, strict=True)]
        with suppress(ValueError, RuntimeError):
            layer = layer_of(function, reduction)
            best = columns.best(layer, weights, rates, others, skip.write, self.kernels.lanes) if layer else None
            if best is not None:
                flat = marked(function, reduction, best.way, self.target)
                body = skipping(flat, reduction, best.way, self.kernels.scatter(best.way.scatter))
                body = Nests(self.kernels.nest, numbers, write=self.kernels.write).body(_with(flat, body))
                schedule = best.described(max(rates), weights)
                return _Made(flat, _with(flat, body), packing=best.way, schedule=schedule)
        return None

    def _nested(self, function: tirx.PrimFunc, reduction: Reduction, nests: Nests) -> _Made:
        assert nests.tile is not None
        flat = bare.lowered(tiled(function, reduction, nests.tile), self.target)
        sliding = slid(flat) if reduction.padded and reduction.filters is not None else None
        flat = sliding or flat
        body = nests.body(flat)
        assert nests.found is not None
        if nests.stream is not None and nests.found.nest.finish is None:
            raise ValueError("what is stored of a stream's sums is not written")
        ahead = sliding is not None or reduction.apart
        inplace = tuple(place for place in range(len(flat.params) - 1) if ahead and once(flat, place))
        return _Made(flat, _with(flat, body), nests.tile, nests.found.packing, inplace)

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


def _with(function: tirx.PrimFunc, body: Any) -> tirx.PrimFunc:
    """The function with another body."""
    return tirx.PrimFunc(function.params, body, None, function.attrs)


def _least_factor(count: int) -> int:
    """The least factor above one."""
    return next((n for n in range(2, count) if count % n == 0), count)


def _number(value: Any) -> float | None:
    """The number that a constant of one element is."""
    if not is_constant(value):
        return None
    found = content(value)
    return float(found.ravel()[0]) if found.size == 1 and found.dtype.name == "float32" else None
