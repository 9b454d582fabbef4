"""Weights by input, and the micro-kernels that skip inputs: whatever the layer, the columns and the zeros, sums as a
textbook has them, in as many instructions as foretold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pruneir.backends.cortex_m import columns
from pruneir.backends.cortex_m.assembly.nest import TooLarge
from pruneir.backends.cortex_m.assembly.scatter import SHIFTS, Loop, Scatter
from pruneir.backends.cortex_m.assembly.skip import write
from pruneir.backends.cortex_m.columns import Cost, Way
from pruneir.backends.cortex_m.inputs import Axis, Layer
from pruneir.backends.lowering.program import Buffer, Call, Constant, Kernel, Program
from support.firmware import built
from support.linear_layers import axis, channels, outputs, size_of

FLOAT = np.dtype(np.float32)
CALL = range(8, 24)
"""Instructions that a step may take beyond its micro-kernel: its addresses, the calls, the mark behind it."""
INPUTS = ("winners", "all zero", "zeros of both signs", "none zero", "a NaN")
CPU_LANES = {"cortex-m4": (1,), "cortex-m55": (1, 4)}


def inside(way: Way, sums: np.ndarray) -> np.ndarray:
    """`[points …, filters]` of what was scattered."""
    part, width = way.part, way.scatter.width
    places = np.full(1, part.shift(width))
    for a, apart in zip(part.axes, part.strides(width), strict=True):
        if a.points:
            places = (places[:, None] + np.arange(a.points) * apart).ravel()
    shape = (*(a.points for a in part.axes if a.points), part.filters[0])
    return np.asarray(sums[places[:, None] + np.arange(part.filters[0])].reshape(shape))


def scattered(way: Way, stored: np.ndarray, x: np.ndarray, block: int) -> np.ndarray:
    """All sums of a block, by what is stored, read as a micro-kernel does."""
    words, halves, values = (stored.view(kind) for kind in (np.uint32, np.uint16, np.float32))
    scatter, sums = way.scatter, np.zeros(way.scatter.room)
    table = int(words[block]) // 4
    for number, index in enumerate(np.ndindex(*(loop.length for loop in scatter.loops))):
        at = table + sum(i * loop.columns for i, loop in zip(index, scatter.loops, strict=True))
        base = sum(i * loop.sums for i, loop in zip(index, scatter.loops, strict=True))
        at += int(words[at]) // 4
        groups, first = int(words[at]) * scatter.unroll, at + 1
        weights = first + (int(words[at]) << SHIFTS[scatter.unroll]) // 4
        for group in range(groups if x[number] else 0):
            distance = words[first + group] if scatter.unroll == 1 else halves[2 * first + group]
            start = base + int(distance) // 4
            part = values[weights + group * scatter.width : weights + (group + 1) * scatter.width]
            sums[start : start + scatter.width] += part.astype(np.float64) * x[number]
    return sums


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Dense layers, rows of these, convolutions of one and two axes, of one or several samples."""
    filters, inputs = draw(st.integers(1, 20)), draw(st.integers(1, 6))
    taps = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(0, 2)))]
    stride = 1
    points: list[Axis] = []
    for each in reversed(taps):
        apart = draw(st.integers(1, 3))
        step = draw(st.sampled_from([1, 1, 2, 3]))
        pads = draw(st.tuples(*[st.integers(0, (each - 1) * apart)] * 2))
        least = max(1, 1 + (each - 1) * apart - sum(pads))
        length = -(-draw(st.integers(least, least + 5)) // step) * step
        points.insert(0, axis(length, each, apart, stride, pads, step))
        stride *= each
    before = [axis(draw(st.integers(2, 4)))] if draw(st.booleans()) else []
    if not taps and draw(st.booleans()):  # weights by input
        return Layer((*before, channels(inputs, filters)), (filters, 1))
    found = Layer((*before, channels(inputs, stride), *points), (filters, stride * inputs))
    assume(all(each.inside for each in found.axes))
    return found


@st.composite
def ways(draw: st.DrawFn) -> Way:
    layer = draw(layers())
    count, stride = layer.filters
    blocks = draw(st.sampled_from([n for n in range(1, 5) if count % n == 0]))
    part = Layer(layer.axes, (count // blocks, stride))
    width, unroll = draw(st.integers(1, min(16, part.filters[0] + 3))), draw(st.sampled_from([*SHIFTS]))
    return Way(part, blocks, Scatter(part.loops(width), part.room(width), width, unroll))


def drawn(random: np.random.Generator, size: int, kept: float) -> np.ndarray:
    return np.where(random.random(size) < kept, random.standard_normal(size), 0).astype(FLOAT)


@settings(deadline=None, max_examples=200)
@given(ways(), st.sampled_from([0.0, 0.1, 0.6, 1.0]), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 99))
def test_columns_hold_the_weights_of_a_layer(way: Way, kept: float, rate: float, seed: int) -> None:
    random, layer = np.random.default_rng(seed), whole(way)
    weights, x = drawn(random, size_of(layer), kept), drawn(random, layer.inputs, rate)
    stored, wanted = way.pack(weights), outputs(layer, x, weights)
    for block, part in enumerate(np.split(wanted, way.blocks, axis=-1)):
        np.testing.assert_allclose(inside(way, scattered(way, stored, x, block)), part, atol=1e-9)


def whole(way: Way) -> Layer:
    count, stride = way.part.filters
    return Layer(way.part.axes, (count * way.blocks, stride))


IMAGE = (channels(5, 9), axis(7, 3, 1, 3, (1, 1)), axis(6, 3, 1, 1, (1, 1)))
LAYERS = {
    "dense": Layer((channels(120, 40),), (40, 1)),
    "rows": Layer((axis(3), channels(30, 17)), (17, 1)),
    "3×3": Layer(IMAGE, (24, 45)),
    "3×3, samples": Layer((axis(2), *IMAGE), (10, 45)),
    "1×1": Layer((channels(20, 1), axis(5), axis(9)), (16, 20)),
    "1×1, strided": Layer((channels(6, 1), axis(8, step=2), axis(10, step=2)), (16, 6)),
    "3×3, strided": Layer((channels(3, 9), axis(8, 3, 1, 3, (1, 1), 2), axis(10, 3, 1, 1, (1, 1), 2)), (24, 27)),
    "3×3, strided samples": Layer(
        (axis(2), channels(3, 9), axis(9, 3, 1, 3, (1, 1), 3), axis(10, 3, 2, 1, (2, 1), 2)), (10, 27)
    ),
    "1-D, dilated": Layer((channels(6, 5), axis(40, 5, 3, 1, (6, 6))), (9, 30)),
    "rows far apart": Layer((channels(2, 9), axis(2, 3, 1, 3, (2, 2)), axis(2100, 3, 1, 1)), (4, 18)),
}


@dataclass(frozen=True)
class Case:
    """A way to compute a layer, on inputs of some kind; weights kept one by one."""

    way: Way
    block: int
    kept: float
    kind: str

    def x(self, random: np.random.Generator) -> np.ndarray:
        size = self.way.part.inputs
        found = drawn(random, size, {"all zero": 0.0, "none zero": 1.0}.get(self.kind, 0.3))
        if self.kind == "zeros of both signs":
            found[::2] = -0.0
        if self.kind == "a NaN":
            found[size // 2 + 1] = np.nan
        return found


@cache
def cases(cpu: str) -> dict[str, Case]:
    """Every layer in all widths that there are, the rest of it in turn."""
    found: dict[str, Case] = {}
    for name, layer in LAYERS.items():
        for number, width in enumerate(range(1, min(16, layer.filters[0] + 3) + 1)):
            unroll, kept, kind = [*SHIFTS][number % 4], (1.0, 0.3, 0.05)[number % 3], INPUTS[number % 5]
            blocks = 2 if number % 2 and layer.filters[0] % 2 == 0 and width <= layer.filters[0] // 2 else 1
            part = Layer(layer.axes, (layer.filters[0] // blocks, layer.filters[1]))
            if unroll > 1 and int(part.distances(width).max()) >= 1 << 16:
                unroll = 1
            for lanes in (lanes for lanes in CPU_LANES[cpu] if width % lanes == 0):
                gaps = kept < 1 or bool((part.places < 0).all(axis=1).any())
                scatter = Scatter(part.loops(width), part.room(width), width, unroll, lanes, gaps)
                title = f"{name} in {width}s, {unroll} at once, {blocks} blocks, {lanes} lanes, {kept} kept, {kind}"
                found[title] = Case(Way(part, blocks, scatter), blocks - 1, kept, kind)
    return found


def foretold(case: Case, weights: np.ndarray, x: np.ndarray) -> int:
    """Instructions, by what each column has."""
    way, (count, stride) = case.way, case.way.part.filters
    groups = columns.grouped(way.part.weights(weights[case.block * count * stride :]), way.scatter.width)
    turns = -(-(groups != 0).any(axis=2).sum(axis=1) // way.scatter.unroll)
    loops = way.scatter.loops
    at = sum(i * loop.columns for i, loop in zip(np.indices([e.length for e in loops]), loops, strict=True))
    written = write("", way.scatter)
    hit = np.flatnonzero(x != 0)
    return written.instructions + len(hit) * written.hit + int(turns[np.ravel(at)[hit]].sum()) * written.turn


@cache
def computed(cpu: str) -> dict[str, tuple[np.ndarray, np.ndarray, int, int]]:
    """Of every case: its sums, the textbook's, the instructions that a step took, and those foretold."""
    given, random = cases(cpu), np.random.default_rng(0)
    weights = [drawn(random, size_of(whole(case.way)), case.kept) for case in given.values()]
    x = [case.x(random) for case in given.values()]
    texts = [write(f"scatter_{i}", case.way.scatter).text for i, case in enumerate(given.values())]
    wrappers = [
        f"int scatter_{i}(float *, const float *, const void *, int);\n"
        f"void k_{i}(const float *x, const uint8_t *w, float *y) {{ scatter_{i}(y, x, w, {case.block}); }}\n"
        for i, case in enumerate(given.values())
    ]
    pointers = (("float", True), ("uint8_t", True), ("float", False))
    program = Program(
        inputs=tuple(Buffer(f"x{i}", FLOAT, each.shape) for i, each in enumerate(x)),
        outputs=tuple(Buffer(f"y{i}", FLOAT, (case.way.scatter.room,)) for i, case in enumerate(given.values())),
        constants=tuple(
            Constant(f"w{i}", case.way.pack(each))
            for i, (case, each) in enumerate(zip(given.values(), weights, strict=True))
        ),
        temporaries=(),
        calls=tuple(Call(f"k_{i}", (f"x{i}", f"w{i}", f"y{i}"), (f"x{i}",), (f"y{i}",)) for i in range(len(given))),
        kernels=tuple(Kernel(f"k_{i}", pointers) for i in range(len(given))),
        sources={
            "kernels.c": "".join(["#include <stdint.h>\n", *wrappers]),
            "tiles.S": "\n".join(["    .syntax unified", "    .thumb", "    .text", *texts]),
        },
    )
    with TemporaryDirectory(prefix="pruneir-") as folder:
        firmware = built(program, cpu, Path(folder), "profile")
        run = firmware.run([{f"x{i}": each for i, each in enumerate(x)}])
    found = {}
    for i, (name, case) in enumerate(given.items()):
        wanted = np.split(outputs(whole(case.way), x[i], weights[i]), case.way.blocks, axis=-1)[case.block]
        sums = inside(case.way, run.outputs[0][f"y{i}"])
        found[name] = (sums, wanted, run.steps[i], foretold(case, weights[i], x[i]))
    return found


@pytest.mark.qemu
@pytest.mark.parametrize(("cpu", "name"), [(cpu, name) for cpu in CPU_LANES for name in cases(cpu)])
def test_sums_and_instructions(cpu: str, name: str) -> None:
    found, wanted, counted, said = computed(cpu)[name]
    if cases(cpu)[name].kind == "a NaN":  # reaches what it has weights for, and no other sum
        assert not (np.isnan(found) & ~np.isnan(wanted)).any()
        assert (np.isnan(found) == np.isnan(wanted)).all() or cases(cpu)[name].kept < 1
        found, wanted = found[~np.isnan(wanted)], wanted[~np.isnan(wanted)]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1.0, np.abs(wanted).max(initial=0)))
    assert counted - said in CALL


@pytest.mark.parametrize(
    ("merged", "loops"),
    [
        ((Loop(20, 24, 0),), ((1, 0, 20), (4, 120, 0), (5, 24, 0))),
        ((Loop(6, 0, 1),), ((2, 0, 3), (3, 0, 1))),
        ((Loop(3, 0, 1), Loop(7, 9, 0)), ((3, 0, 1), (1, 63, 0), (7, 9, 0))),
        ((Loop(1, 0, 0),), ((1, 4, 1),)),
    ],
)
def test_loops_that_continue_each_other_are_one(
    merged: tuple[Loop, ...], loops: tuple[tuple[int, int, int], ...]
) -> None:
    assert Scatter(tuple(Loop(*each) for each in loops), 8, 4, 2).merged().loops == merged


def test_what_has_no_registers_is_refused() -> None:
    dense = LAYERS["dense"]
    with pytest.raises(TooLarge):
        write("", Scatter(dense.loops(1), 40, 17, 1))


IMAGES = Layer((channels(32, 25), axis(14, 5, 1, 5, (2, 2)), axis(14, 5, 1, 1, (2, 2))), (64, 800))


def test_less_memory_is_taken_where_it_costs_hardly_more() -> None:
    weights = np.ones(size_of(IMAGES), FLOAT)
    found = columns.best(IMAGES, [weights], [0.5], [Cost(10**9, weights.nbytes)], write, (1,))
    assert found is not None
    assert found.way.blocks > 1
    assert found.way.scatter.room * found.way.blocks == prod(a.sums for a in IMAGES.axes) * 64


def test_weights_take_hardly_more_bytes_than_without_skipping() -> None:
    weights = drawn(np.random.default_rng(0), size_of(IMAGES), 0.4)
    widths = []
    for nbytes in (2 * weights.nbytes, weights.nbytes // 2, weights.nbytes // 4):
        found = columns.best(IMAGES, [weights], [0.1], [Cost(10**9, nbytes)], write, (1,))
        widths.append(found.way.scatter.width if found is not None else None)
        if found is not None:
            assert found.costs[0].nbytes == found.way.pack(weights).nbytes <= 1.25 * nbytes
    assert widths == [16, 1, None]


@pytest.mark.parametrize("kept", [0.0, 0.005, 0.3])
@pytest.mark.parametrize("name", LAYERS)
def test_bytes_are_foretold(name: str, kept: float) -> None:
    layer = LAYERS[name]
    weights = drawn(np.random.default_rng(1), size_of(layer), kept)
    found = columns.best(layer, [weights], [0.1], [Cost(10**9, 10**9)], write, (1, 4))
    assert found is not None
    assert found.costs[0].nbytes == found.way.pack(weights).nbytes


def test_a_way_that_is_no_better_is_not_taken() -> None:
    weights = np.ones(size_of(IMAGES), FLOAT)
    found = columns.best(IMAGES, [weights], [0.5], [Cost(10**9, weights.nbytes)], write, (1,))
    assert found is not None
    for share, taken in ((0.85, True), (0.9, False)):
        other = Cost(round(found.instructions / share), weights.nbytes)
        assert (columns.best(IMAGES, [weights], [0.5], [other], write, (1,)) is not None) is taken
