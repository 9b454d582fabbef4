"""How a function with a reduction is computed: on dense tiles, without the zeros of its weights, or input by input.

Which of these is chosen by the instructions that each would execute: a stream has to take fewer than dense tiles, and
skipping inputs fewer than the better of both.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from tvm import s_tir, tirx

from pruneir.backends.cortex_m import choose, columns, sparse
from pruneir.backends.cortex_m.assembly import skip
from pruneir.backends.cortex_m.columns import Cost, Way
from pruneir.backends.cortex_m.epilogue import Numbers
from pruneir.backends.cortex_m.microkernels import MicroKernels
from pruneir.backends.cortex_m.nests import Found, Nests
from pruneir.backends.cortex_m.packing import Packing
from pruneir.backends.cortex_m.schedule import Reduction, Tile, tiled
from pruneir.backends.cortex_m.skipping import layer_of, marked, skipping
from pruneir.backends.cortex_m.sliding import once, slid
from pruneir.backends.cortex_m.sparse import StreamPacking
from pruneir.backends.cortex_m.storages import compared, with_columns
from pruneir.backends.lowering import bare
from pruneir.storage import Storage

_REFUSED = (ValueError, s_tir.ScheduleError)
"""What says that a function cannot be computed in some way."""


@dataclass(frozen=True, slots=True)
class Made:
    """A function as plain loops, and with micro-kernels called.

    tile     of its reduction, where that is computed by tiles, and how its weights are packed
    inplace  parameters that the output may be written in place of, because they are padded before
    schedule  what a table says of it; empty for its tile, or that it has none
    storages  of the weights of each call, where leaving out zeros was considered
    """

    flat: tirx.PrimFunc
    body: tirx.PrimFunc
    tile: Tile | None = None
    packing: Packing | StreamPacking | Way | None = None
    inplace: tuple[int, ...] = ()
    schedule: str = ""
    storages: tuple[Storage, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Reducing:
    """A function with a reduction, and what is known of it.

    numbers  constants of one element
    weights  of each call; none where what is summed is not weighted
    rates    the share of inputs that are not zero, of each call with weights
    exact    whether nothing behind the last input may be read
    """

    function: tirx.PrimFunc
    reduction: Reduction
    numbers: Numbers
    weights: tuple[np.ndarray, ...]
    rates: tuple[float, ...]
    exact: bool
    kernels: MicroKernels
    target: Any

    def made(self) -> Made | None:
        """What executes the fewest instructions; None where no tile can be written for it."""
        with suppress(*_REFUSED):
            filters, points = self.reduction.count
            probe = self._probed(Tile(_least_factor(filters), _least_factor(points)))
            tile = choose.best(probe.nest, filters, points, self.kernels.write, exact=self.exact)
            if tile is not None:
                cost = choose.cost(probe.nest, tile, filters, points, self.kernels.write)
                found, storages = self._without_zeros(tile, cost or 0)
                nests = Nests(self.kernels.nest, self.numbers, tile, self.kernels.write)
                return found or replace(self._nested(nests), storages=storages)
        return None

    @property
    def _rows(self) -> int:
        """How many rows of points there are."""
        return prod(self.reduction.loops) // prod(self.reduction.count)

    def _probed(self, tile: Tile) -> Found:
        """What the nest of a tile becomes."""
        probe = Nests(lambda nest: "none", self.numbers, tile)
        self._nested(probe)
        assert probe.found is not None
        return probe.found

    def _without_zeros(self, tile: Tile, cost: int) -> tuple[Made | None, tuple[Storage, ...]]:
        """The function without zeros of weights or inputs, or None; and what each format of the weights takes, where
        any was considered.

        tile, cost  the best dense tile, and the instructions of all tiles of a row
        """
        has_zeros = any(map(sparse.has_zeros, self.weights))
        if not has_zeros and min(self.rates, default=1) == 1:
            return None, ()
        packing = self._probed(tile).packing
        assert isinstance(packing, Packing)
        made, storages = self._streamed(packing, cost) if has_zeros else (None, ())
        dense = storages or compared((), None, self.weights, (packing, cost), self._rows)
        return made or self._skipping(dense), storages

    def _streamed(self, packing: Packing, cost: int) -> tuple[Made | None, tuple[Storage, ...]]:
        """The function without the zeros of its weights, or None; and what each format of these takes."""
        filters, points = self.reduction.count
        storages: tuple[Storage, ...] = ()
        for at_once in dict.fromkeys((_least_factor(points), 1)):
            with suppress(*_REFUSED):
                probe = self._probed(Tile(_least_factor(filters), at_once))
                terms = sparse.terms(probe.nest, probe.packing, filters)
                found = sparse.ways(probe.nest, terms, points, self.weights, self.kernels.write, self.kernels.lanes)
                if not found:
                    continue
                choice = sparse.best(found, cost)
                stored = compared(found, choice, self.weights, (packing, cost), self._rows)
                if choice is not None:
                    nests = Nests(self.kernels.nest, self.numbers, choice.tile, self.kernels.write, choice.stream)
                    described = choice.described(self.weights)
                    made = self._skipping(stored) or replace(self._nested(nests), schedule=described, storages=stored)
                    return made, stored
                storages = storages or stored
        return None, storages

    def _skipping(self, stored: tuple[Storage, ...]) -> Made | None:
        """The function with inputs skipped that are zero; None unless that takes fewer instructions.

        stored  of the weights of each call, as they are where all inputs are computed
        """
        if max(self.rates) == 1:
            return None
        others = [Cost(each.format.cost, each.format.nbytes) for each in stored]
        with suppress(*_REFUSED):
            layer = layer_of(self.function, self.reduction)
            if layer is None:
                return None
            choice = columns.best(layer, self.weights, self.rates, others, skip.write, self.kernels.lanes)
            if choice is not None:
                way = choice.way
                flat = marked(self.function, self.reduction, way, self.target)
                body = skipping(flat, self.reduction, way, self.kernels.scatter(way.scatter))
                body = Nests(self.kernels.nest, self.numbers, write=self.kernels.write).body(with_body(flat, body))
                described = choice.described(max(self.rates), self.weights)
                storages = with_columns(stored, choice)
                return Made(flat, with_body(flat, body), packing=way, schedule=described, storages=storages)
        return None

    def _nested(self, nests: Nests) -> Made:
        assert nests.tile is not None
        flat = bare.lowered(tiled(self.function, self.reduction, nests.tile), self.target)
        sliding = slid(flat) if self.reduction.padded and self.reduction.filters is not None else None
        flat = sliding or flat
        body = nests.body(flat)
        assert nests.found is not None
        if nests.stream is not None and nests.found.nest.finish is None:
            raise ValueError("what is stored of a stream's sums is not written")
        ahead = sliding is not None or self.reduction.apart
        inplace = tuple(place for place in range(len(flat.params) - 1) if ahead and once(flat, place))
        return Made(flat, with_body(flat, body), nests.tile, nests.found.packing, inplace)


def with_body(function: tirx.PrimFunc, body: Any) -> tirx.PrimFunc:
    """The function with another body."""
    return tirx.PrimFunc(function.params, body, None, function.attrs)


def _least_factor(count: int) -> int:
    """The least factor above one."""
    return next((n for n in range(2, count) if count % n == 0), count)
