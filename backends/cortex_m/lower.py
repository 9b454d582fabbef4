"""From a graph to a program: every step a bare C function, reductions and loops over elements in micro-kernels.

Graph ──importing──▶ Relax ──schedule, sliding, nests, bare──▶ C and assembly ──walk──▶ Program
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import tvm
from tvm import relax, tirx

from pruneir.backends.cortex_m import choose, sparse
from pruneir.backends.cortex_m.apart import apart
from pruneir.backends.cortex_m.assembly import fpv4, mve, sparse_fpv4, sparse_mve
from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge, Written
from pruneir.backends.cortex_m.assembly.vectors import LANES
from pruneir.backends.cortex_m.cpus import Cpu
from pruneir.backends.cortex_m.epilogue import Numbers
from pruneir.backends.cortex_m.nests import Found, Nests
from pruneir.backends.cortex_m.packing import Packing
from pruneir.backends.cortex_m.schedule import Reduction, Tile, reduction_of, tiled
from pruneir.backends.cortex_m.sliding import once, slid
from pruneir.backends.cortex_m.sparse import StreamPacking
from pruneir.backends.lowering import bare
from pruneir.backends.lowering.default import inlined
from pruneir.backends.lowering.importing import fused
from pruneir.backends.lowering.order import order as ordered
from pruneir.backends.lowering.program import Program
from pruneir.backends.lowering.visit import stores
from pruneir.backends.lowering.walk import C_TYPES, Lowered, Lowering, content, in_place, is_constant
from pruneir.errors import PruneirError
from pruneir.graph import Graph


def lowered(graph: Graph, cpu: Cpu) -> Program:
    """The program of a graph with fixed shapes. PruneirError, one line, for what cannot be compiled."""
    target = tvm.target.Target({"kind": "c", "mcpu": cpu.name})
    target = target.with_host(target)
    program: Program = _Lowering(graph, target, apart(fused(graph, target)), cpu=cpu).program()
    return ordered(program)


@dataclass(frozen=True, slots=True)
class _Made:
    """A function as plain loops, and with micro-kernels called.

    tile     of its reduction, where that is computed by tiles, and how its weights are packed
    inplace  parameters that the output may be written in place of, because they are padded before
    schedule  what a table says of it; empty for its tile, or that it has none
    """

    flat: tirx.PrimFunc
    body: tirx.PrimFunc
    tile: Tile | None = None
    packing: Packing | StreamPacking | None = None
    inplace: tuple[int, ...] = ()
    schedule: str = ""


@dataclass(slots=True)
class _Lowering(Lowering):
    cpu: Cpu = field(kw_only=True)
    kernels: dict[Nest, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    @property
    def write(self) -> choose.Write:
        """What writes micro-kernels for this processor."""
        dense = mve.write if self.cpu.mve else partial(fpv4.write, extremes=self.cpu.extremes)
        streamed = sparse_mve.write if self.cpu.mve else partial(sparse_fpv4.write, extremes=self.cpu.extremes)

        def written(name: str, nest: Nest) -> Written:
            return dense(name, nest) if nest.stream is None else streamed(name, nest)

        return written

    @property
    def lanes(self) -> tuple[int, ...]:
        """How many filters a vector may hold."""
        return (1, LANES) if self.cpu.mve else (1,)

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
            schedule=made.schedule or (f"tile {made.tile}" if made.tile is not None else "default"),
        )
        alike = in_place(made.flat, constants) if len(made.flat.params) > 1 else ()
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
        return _Made(flat, _with(flat, Nests(self._kernel, numbers, write=self.write).body(flat)))

    def _tiled(
        self, name: str, function: tirx.PrimFunc, reduction: Reduction, exact: bool, numbers: Numbers
    ) -> _Made | None:
        """The function on register tiles; None where no tile can be written for it."""
        try:
            filters, points = reduction.count
            probe = self._probed(function, reduction, numbers, Tile(_least_factor(filters), _least_factor(points)))
            tile = choose.best(probe.nest, filters, points, self.write, exact=exact)
            if tile is None:
                return None
            found = self._sparse(name, function, reduction, tile, numbers)
            return found or self._nested(function, reduction, Nests(self._kernel, numbers, tile, self.write))
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
    ) -> _Made | None:
        """The function without the zeros of its weights; None unless that takes fewer instructions."""
        if reduction.weights is None:
            return None
        weights = [content(call[reduction.weights]) for call in self._arguments(name)]
        if not any(sparse.has_zeros(each) for each in weights):
            return None
        filters, points = reduction.count
        with suppress(ValueError, TooLarge, RuntimeError):
            for at_once in dict.fromkeys((_least_factor(points), 1)):
                probe = self._probed(function, reduction, numbers, Tile(_least_factor(filters), at_once))
                choice = sparse.best(
                    probe.nest,
                    sparse.terms(probe.nest, probe.packing, filters),
                    points,
                    weights,
                    self.write,
                    self.lanes,
                )
                most = choose.cost(probe.nest, dense, filters, points, self.write)
                if choice is not None and most is not None and choice.pays(most):
                    nests = Nests(self._kernel, numbers, choice.tile, self.write, choice.stream)
                    return replace(self._nested(function, reduction, nests), schedule=choice.described(weights))
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
