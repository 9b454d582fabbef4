"""Micro-kernels: whatever the tile, the strides and the loops, sums as numpy's, in as many instructions as foretold."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, reduce
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pruneir.backends.cortex_m.assembly import fpv4, mve
from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge, Written
from pruneir.backends.cortex_m.qemu import Firmware
from pruneir.backends.lowering.program import Buffer, Call, Constant, Kernel, Program
from support.firmware import built

WRITERS = {"cortex-m4": fpv4.write, "cortex-m55": mve.write}
FLOAT = np.dtype(np.float32)
CALL = range(10, 15)
"""Instructions that a step may take beyond its micro-kernel: three addresses, the call, the mark behind it."""

KNOWN = {
    "3×3 over 16 channels": Nest(4, 4, 1, ((16, 900), (3, 30), (3, 1))),
    "3×3, stride 2": Nest(4, 4, 2, ((16, 900), (3, 30), (3, 1))),
    "3×3, dilated": Nest(4, 4, 1, ((3, 100), (3, 40), (3, 2))),
    "7×7": Nest(4, 4, 1, ((3, 200), (7, 20), (7, 1))),
    "depthwise": Nest(1, 8, 1, ((3, 30), (3, 1))),
    "1×1": Nest(4, 4, 1, ((32, 196),)),
    "1×1, more terms than a block": Nest(4, 4, 1, ((101, 49),)),
    "dense": Nest(8, 1, 0, ((300, 1),)),
    "dense, odd": Nest(12, 1, 0, ((67, 1),)),
    "dense, of many rows": Nest(4, 4, 96, ((96, 1),)),
    "1-D, wide": Nest(4, 4, 16, ((64, 1),)),
    "far apart": Nest(4, 1, 0, ((9, 2000), (2, 7))),
    "four loops": Nest(4, 4, 1, ((5, 700), (3, 160), (4, 20), (5, 3))),
    "loops of one": Nest(4, 4, 1, ((1, 9), (6, 11), (1, 5))),
    "one term": Nest(4, 4, 1, ((1, 0),)),
    "long loops in long loops": Nest(4, 4, 1, ((17, 60), (50, 1))),
}


def drawn(write: Callable[[str, Nest], Written], count: int) -> dict[str, Nest]:
    """Random nests that the writer takes."""
    random = np.random.default_rng(0)
    found: dict[str, Nest] = {}
    while len(found) < count:
        loops = [(int(random.integers(1, 12)), int(random.integers(0, 40))) for _ in range(random.integers(1, 5))]
        nest = Nest(int(random.integers(1, 13)), int(random.integers(1, 13)), int(random.integers(0, 5)), tuple(loops))
        try:
            write("", nest)
        except TooLarge:
            continue
        if nest.terms < 3000:
            found[f"{nest.filters}×{nest.points} by {nest.step}, {loops}"] = nest
    return found


def nests(cpu: str) -> dict[str, Nest]:
    write, known = WRITERS[cpu], {}
    for name, nest in KNOWN.items():
        try:
            write("", nest)
        except TooLarge:
            continue
        known[name] = nest
    return {**known, **drawn(write, 48)}


def offsets(nest: Nest) -> np.ndarray:
    """Where the terms of the first point lie."""
    steps = [np.arange(length) * stride for length, stride in nest.reduction]
    return reduce(np.add.outer, steps).ravel()


def summed(nest: Nest, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The sums [filters, points], in float64."""
    at = offsets(nest)[:, None] + np.arange(nest.points) * nest.step
    sums: np.ndarray = w.reshape(nest.terms, nest.filters).T.astype(np.float64) @ x[at]
    return sums


@cache
def computed(cpu: str) -> dict[str, tuple[np.ndarray, np.ndarray, int, int]]:
    """Of every nest: its sums, numpy's, the instructions that a step took, and those foretold."""
    given, random = nests(cpu), np.random.default_rng(1)
    written = [WRITERS[cpu](f"tile_{i}", nest) for i, nest in enumerate(given.values())]
    x = random.standard_normal(max(int(offsets(n).max()) + n.points * n.step for n in given.values()) + 64, FLOAT)
    weights = [random.standard_normal(nest.terms * nest.filters, FLOAT) for nest in given.values()]
    pointers = (("float", False), ("float", True), ("float", True))
    calls = [Call(f"tile_{i}", (f"y{i}", "x", f"w{i}"), ("x",), (f"y{i}",)) for i in range(len(given))]
    program = Program(
        inputs=(Buffer("x", FLOAT, x.shape),),
        outputs=tuple(Buffer(f"y{i}", FLOAT, (n.filters, n.points)) for i, n in enumerate(given.values())),
        constants=tuple(Constant(f"w{i}", array) for i, array in enumerate(weights)),
        temporaries=(),
        calls=tuple(calls),
        kernels=tuple(Kernel(call.kernel, pointers) for call in calls),
        sources={"tiles.S": "\n".join(["    .syntax unified", "    .thumb", "    .text", *(w.text for w in written)])},
    )
    with TemporaryDirectory(prefix="pruneir-") as folder:
        firmware = built(program, cpu, Path(folder), "profile")
        run = _ran(firmware, x)
    return {
        name: (run[0][f"y{i}"], summed(nest, x, weights[i]), run[1][i], written[i].instructions)
        for i, (name, nest) in enumerate(given.items())
    }


def _ran(firmware: Firmware, x: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    run = firmware.run([{"x": x}])
    return run.outputs[0], run.steps


CASES = [(cpu, name) for cpu in WRITERS for name in nests(cpu)]


@pytest.mark.qemu
@pytest.mark.parametrize(("cpu", "name"), CASES)
def test_sums_and_instructions(cpu: str, name: str) -> None:
    sums, wanted, counted, foretold = computed(cpu)[name]
    scale = np.abs(wanted).max()
    assert scale > 0
    assert np.abs(sums - wanted).max() / scale < 1e-5
    assert counted - foretold in CALL


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_has_no_registers_is_refused(write: Callable[[str, Nest], Written]) -> None:
    with pytest.raises(TooLarge, match="8 × 8 sums"):
        write("tile", Nest(8, 8, 1, ((9, 1),)))


def test_a_vector_needs_four_neighbours() -> None:
    with pytest.raises(TooLarge, match="no whole vectors"):
        mve.write("tile", Nest(3, 5, 1, ((9, 1),)))


@pytest.mark.parametrize(
    ("loops", "merged"),
    [
        (((16, 49), (7, 7), (7, 1)), ((784, 1),)),
        (((16, 900), (3, 30), (3, 1)), ((16, 900), (3, 30), (3, 1))),
        (((4, 30), (1, 9), (10, 3)), ((40, 3),)),
        (((1, 5),), ((1, 0),)),
    ],
)
def test_loops_that_continue_each_other_are_one(
    loops: tuple[tuple[int, int], ...], merged: tuple[tuple[int, int], ...]
) -> None:
    nest = Nest(4, 4, 1, loops)
    assert nest.merged() == Nest(4, 4, 1, merged)
    assert nest.merged().macs == nest.macs
