"""Micro-kernels: whatever the tile, the strides and the loops, sums as numpy's, in as many instructions as foretold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial, reduce
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pruneir.backends.cortex_m.assembly import expression as ex
from pruneir.backends.cortex_m.assembly import fpv4, mve
from pruneir.backends.cortex_m.assembly.finish import Operand, finish
from pruneir.backends.cortex_m.assembly.nest import Nest, Step, TooLarge, Written
from pruneir.backends.cortex_m.qemu import Firmware
from pruneir.backends.lowering.program import Buffer, Call, Constant, Kernel, Program
from support.firmware import built

WRITERS = {"cortex-m4": fpv4.write, "cortex-m7": partial(fpv4.write, extremes=True), "cortex-m55": mve.write}
FLOAT = np.dtype(np.float32)
CALL = range(10, 22)
"""Instructions that a step may take beyond its micro-kernel: its addresses, the call, the mark behind it."""

KNOWN = {
    "3×3 over 16 channels": Nest(4, 4, 1, ((16, 900), (3, 30), (3, 1))),
    "3×3, stride 2": Nest(4, 4, 2, ((16, 900), (3, 30), (3, 1))),
    "3×3, dilated": Nest(4, 4, 1, ((3, 100), (3, 40), (3, 2))),
    "7×7": Nest(4, 4, 1, ((3, 200), (7, 20), (7, 1))),
    "depthwise": Nest(1, 8, 1, ((3, 30), (3, 1))),
    "depthwise, odd": Nest(1, 7, 1, ((3, 30), (3, 1))),
    "depthwise, stride 2": Nest(1, 7, 2, ((3, 30), (3, 1))),
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
    "not weighted": Nest(1, 4, 20, ((20, 1),), weighted=False),
    "not weighted, of neighbours": Nest(1, 5, 1, ((3, 9), (3, 1)), weighted=False),
}

BIAS, SLOPE, LIKE = Operand(1, 0), Operand(1, 0), Operand(10, 1)
ACC, A, B = ex.Sum(), ex.Given(0), ex.Given(1)
BIASED = ex.plus(ACC, A)
FINISHES = {
    "biased": (BIASED, (BIAS,)),
    "rectified": (ex.largest(BIASED, 0.0), (BIAS,)),
    "rectified, then scaled": (ex.plus(ex.times(ex.largest(BIASED, 0.0), 1.5), -0.25), (BIAS,)),
    "clipped": (ex.smallest(ex.largest(BIASED, 0.0), 6.0), (BIAS,)),
    "hard swish": (ex.over(ex.times(BIASED, ex.smallest(ex.largest(ex.plus(BIASED, 3.0), 0.0), 6.0)), 6.0), (BIAS,)),
    "hard sigmoid": (ex.largest(ex.smallest(ex.plus(ex.times(0.2, ACC), 0.5), 1.0), 0.0), ()),
    "residual": (ex.plus(BIASED, B), (BIAS, LIKE)),
    "residual, rectified": (ex.largest(ex.plus(BIASED, B), 0.0), (BIAS, LIKE)),
    "scaled by filters": (ex.times(BIASED, B), (BIAS, SLOPE)),
    "rectified twice": (ex.times(ex.largest(ACC, 0.0), ex.largest(ex.minus(A, ACC), 0.0)), (LIKE,)),
    "less a residual": (ex.minus(A, ACC), (LIKE,)),
}
"""What is stored for sums [3, 6] in rows of 10, and the operands of that."""


def finished() -> dict[str, Nest]:
    """Tiles of each: alone, and 2 × 3 in two loops; the filters of the second half begin 30 further on."""
    found = {}
    for name, (value, operands) in FINISHES.items():
        nest = Nest(3, 6, 1, ((5, 40), (3, 1)), finish=finish(value, operands, 10, 1))
        found[name] = nest
        moves = [(3, 0) if operand.points == 0 else (30, 6) for operand in operands]
        steps = (Step(2, (30, 0, 45, *(f for f, _ in moves))), Step(3, (6, 6, 0, *(p for _, p in moves))))
        found[f"{name}, tiles"] = replace(nest, steps=steps)
    return found


def held(nest: Nest) -> list[np.ndarray]:
    """What its operands hold."""
    random = np.random.default_rng(2)
    return [random.standard_normal(80, FLOAT) for _ in nest.stored.operands]


def evaluated(value: ex.Value, acc: np.ndarray, operands: list[np.ndarray]) -> np.ndarray:
    """An expression in float64."""
    if isinstance(value, ex.Sum):
        return acc
    if isinstance(value, ex.Given):
        return operands[value.operand]
    if isinstance(value, ex.Affine):
        return evaluated(value.value, acc, operands) * value.scale + value.offset
    if isinstance(value, ex.Clip):
        return np.clip(evaluated(value.value, acc, operands), value.low, value.high)
    assert isinstance(value, ex.Pair)
    word = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[value.name]
    found: np.ndarray = word(evaluated(value.a, acc, operands), evaluated(value.b, acc, operands))
    return found


def stored(name: str, nest: Nest, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """What becomes of the sums, where it is stored; zeros elsewhere."""
    if nest.finish is None:
        return summed(nest, x, w)
    value, _ = FINISHES[name.removesuffix(", tiles")]
    out, weights = np.zeros(80), nest.terms * nest.filters
    for f in range(nest.steps[0].length if nest.steps else 1):
        for p in range(nest.steps[1].length if nest.steps else 1):
            at = np.arange(3)[:, None] * 10 + np.arange(6) + 30 * f + 6 * p
            acc = summed(nest, x[6 * p :], w[weights * f : weights * (f + 1)])
            pairs = zip(nest.finish.operands, held(nest), strict=True)
            operands = [array[at] if each.points else array[3 * f : 3 * f + 3, None] for each, array in pairs]
            out[at] = evaluated(value, acc, [each.astype(np.float64) for each in operands])
    return out


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
    for name, nest in {**KNOWN, **finished()}.items():
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
    weights = w.reshape(nest.terms, nest.filters).T if nest.weighted else np.ones((1, nest.terms))
    sums: np.ndarray = weights.astype(np.float64) @ x[at]
    return sums


@cache
def computed(cpu: str) -> dict[str, tuple[np.ndarray, np.ndarray, int, int]]:
    """Of every nest: its sums, numpy's, the instructions that a step took, and those foretold."""
    given, random = nests(cpu), np.random.default_rng(1)
    written = [WRITERS[cpu](f"tile_{i}", nest) for i, nest in enumerate(given.values())]
    x = random.standard_normal(max(int(offsets(n).max()) + n.points * n.step for n in given.values()) + 64, FLOAT)
    weights = [random.standard_normal(n.terms * n.filters * (2 if n.steps else 1), FLOAT) for n in given.values()]
    operands = {f"o{i}_{k}": array for i, nest in enumerate(given.values()) for k, array in enumerate(held(nest))}
    calls = []
    for i, nest in enumerate(given.values()):
        also = [f"o{i}_{k}" for k in range(len(nest.stored.operands))]
        calls.append(Call(f"tile_{i}", (f"y{i}", "x", f"w{i}", *also), ("x",), (f"y{i}",)))
    program = Program(
        inputs=(Buffer("x", FLOAT, x.shape),),
        outputs=tuple(
            Buffer(f"y{i}", FLOAT, (80,) if n.finish else (n.filters, n.points)) for i, n in enumerate(given.values())
        ),
        constants=(
            *(Constant(f"w{i}", array) for i, array in enumerate(weights)),
            *(Constant(name, array) for name, array in operands.items()),
        ),
        temporaries=(),
        calls=tuple(calls),
        kernels=tuple(
            Kernel(call.kernel, (("float", False), *[("float", True)] * (len(call.arguments) - 1))) for call in calls
        ),
        sources={"tiles.S": "\n".join(["    .syntax unified", "    .thumb", "    .text", *(w.text for w in written)])},
    )
    with TemporaryDirectory(prefix="pruneir-") as folder:
        firmware = built(program, cpu, Path(folder), "profile")
        run = _ran(firmware, x)
    return {
        name: (run[0][f"y{i}"], stored(name, nest, x, weights[i]), run[1][i], written[i].instructions)
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


@pytest.mark.parametrize("cpu", WRITERS)
def test_what_is_stored_has_registers(cpu: str) -> None:
    without = {name for name in finished() if name not in nests(cpu)}
    assert without == ({"rectified twice", "rectified twice, tiles"} if cpu == "cortex-m55" else set())


def test_a_vector_needs_neighbours() -> None:
    with pytest.raises(TooLarge, match="no vectors"):
        mve.write("tile", Nest(3, 1, 1, ((9, 1),)))


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
