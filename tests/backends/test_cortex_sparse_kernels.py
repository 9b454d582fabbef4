"""Micro-kernels for weights without zeros: whatever the panels, strides and zeros, sums as numpy's, in as many
instructions as foretold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pruneir.backends.cortex_m.assembly import expression as ex
from pruneir.backends.cortex_m.assembly import sparse_fpv4, sparse_mve
from pruneir.backends.cortex_m.assembly.finish import Operand, finish
from pruneir.backends.cortex_m.assembly.nest import Nest, Step, Stream, TooLarge, Written
from pruneir.backends.cortex_m.sparse import TERMS, StreamPacking, Terms, smaller, streams
from pruneir.backends.lowering.program import Buffer, Call, Constant, Kernel, Program
from support.firmware import built

WRITERS = {
    "cortex-m4": sparse_fpv4.write,
    "cortex-m7": partial(sparse_fpv4.write, extremes=True),
    "cortex-m55": sparse_mve.write,
}
FLOAT = np.dtype(np.float32)
CALL = range(8, 22)
"""Instructions that a step may take beyond its micro-kernel: its addresses, the call, the mark behind it."""

ACC, BIAS, LIKE = ex.Sum(), ex.Given(0), ex.Given(1)
FINISHES = {
    "biased": ex.plus(ACC, BIAS),
    "rectified": ex.largest(ex.plus(ACC, BIAS), 0.0),
    "residual": ex.largest(ex.plus(ex.plus(ACC, BIAS), LIKE), 0.0),
}


@dataclass(frozen=True)
class Layer:
    """Filters × points sums in `tiles` tiles along a row of the output, over loops (length, stride of the input)."""

    filters: int
    points: int
    step: int
    loops: tuple[tuple[int, int], ...]
    stream: Stream
    kept: float = 0.2
    tiles: int = 1
    stored: str = "biased"

    @property
    def row(self) -> int:
        """Sums of a filter."""
        return self.points * self.tiles

    @property
    def terms(self) -> Terms:
        """Weights lie as a kernel's do: filters, then the loops."""
        loops: list[tuple[int, int, int]] = []
        count = 1
        for length, stride in reversed(self.loops):
            loops.insert(0, (length, count, stride))
            count *= length
        return Terms(tuple(loops), (self.filters, count))

    @property
    def nest(self) -> Nest:
        """What is written for it."""
        value = FINISHES[self.stored]
        operands = (Operand(1, 0), *[Operand(self.row, 1)] * (self.stored == "residual"))
        steps: tuple[Step, ...] = ()
        if self.tiles > 1:
            moved = (0, self.points)[: len(operands)]
            steps = (Step(self.tiles, (self.points, self.points * self.step, 0, *moved)),)
        made = finish(value, operands, self.row, 1) if self.row > 1 else finish(value, operands, 1, 1)
        return Nest(self.filters, self.points, self.step, TERMS, finish=made, steps=steps, stream=self.stream)

    def weights(self, random: np.random.Generator) -> np.ndarray:
        """Some zeros; of filters, the first has none and the second nothing but."""
        shape = (self.filters, self.terms.distances.size)
        found = np.where(random.random(shape) < self.kept, random.standard_normal(shape, FLOAT), FLOAT.type(0))
        found[:1] = random.standard_normal((1, shape[1]), FLOAT)
        found[1:2] = 0
        return found.astype(FLOAT)

    def sums(self, x: np.ndarray, w: np.ndarray, bias: np.ndarray, like: np.ndarray) -> np.ndarray:
        """What is stored, in float64."""
        at = self.terms.distances[:, None] + np.arange(self.row) * self.step
        found = self.terms.matrix(w).astype(np.float64) @ x[at] + bias[: self.filters, None]
        if self.stored == "residual":
            found += like[: found.size].reshape(found.shape)
        return found if self.stored == "biased" else np.maximum(found, 0)


DENSE = ((300, 1),)
CONV = ((4, 400), (3, 20), (3, 1))
LAYERS = {
    "dense, in 8s, a tail": Layer(20, 1, 0, DENSE, Stream(8, 4)),
    "dense, in 8s": Layer(16, 1, 0, DENSE, Stream(8, 2), stored="rectified"),
    "dense, in 16s": Layer(36, 1, 0, DENSE, Stream(16, 8)),
    "dense, one by one": Layer(7, 1, 0, DENSE, Stream(1, 8), kept=0.05),
    "dense, one at a time": Layer(9, 1, 0, DENSE, Stream(4, 1)),
    "dense, of 4 bytes": Layer(12, 1, 0, ((30, 1000),), Stream(8, 4, wide=True)),
    "dense, of 4 bytes, one at a time": Layer(12, 1, 0, ((30, 1000),), Stream(8, 1, wide=True)),
    "dense, in blocks": Layer(10, 1, 0, DENSE, Stream(4, 2, block=2)),
    "dense, in long blocks": Layer(10, 1, 0, DENSE, Stream(1, 2, block=4), stored="residual"),
    "3×3": Layer(9, 6, 1, CONV, Stream(4, 4), stored="rectified"),
    "3×3, tiles": Layer(10, 4, 1, CONV, Stream(4, 2), tiles=3, stored="residual"),
    "3×3, one by one": Layer(5, 8, 1, CONV, Stream(1, 8), tiles=2),
    "3×3, part of a group at a time": Layer(11, 3, 1, CONV, Stream(8, 4)),
    "3×3, stride 2": Layer(6, 5, 2, CONV, Stream(3, 2)),
    "stride 3, tiles": Layer(6, 4, 3, CONV, Stream(2, 2), tiles=2, stored="residual"),
    "stride 16": Layer(6, 8, 16, ((64, 1),), Stream(1, 4), tiles=2),
    "1×1": Layer(12, 7, 1, ((32, 49),), Stream(2, 4), tiles=7, stored="residual"),
    "rows far apart": Layer(8, 3, 300, DENSE, Stream(8, 2)),
    "nothing left": Layer(4, 1, 0, DENSE, Stream(4, 4), kept=0.0),
    "nothing gone": Layer(8, 4, 1, CONV, Stream(4, 4), kept=1.0),
    "fewer filters than a panel": Layer(3, 4, 1, CONV, Stream(8, 2)),
}


def drawn(write: object, count: int) -> dict[str, Layer]:
    """Random layers that the writer takes."""
    random = np.random.default_rng(0)
    found: dict[str, Layer] = {}
    while len(found) < count:
        loops = tuple((int(random.integers(1, 9)), stride) for stride in (400, 20, 1))
        unroll = int(random.choice([1, 2, 4, 8]))
        layer = Layer(
            filters=int(random.integers(1, 40)),
            points=int(random.integers(1, 9)),
            step=int(random.integers(1, 4)),
            loops=loops,
            stream=Stream(int(random.integers(1, 13)), unroll, wide=bool(random.integers(2)), lanes=1),
            kept=float(random.choice([0.02, 0.2, 0.7])),
            tiles=int(random.integers(1, 4)),
            stored=str(random.choice([*FINISHES])),
        )
        layer = replace(layer, stream=replace(layer.stream, lanes=int(random.choice(lanes(write)))))
        if fits(write, layer):
            found[f"{layer.filters} by {layer.stream}, {layer.points} × {layer.tiles}, {loops}, {unroll}"] = layer
    return found


def lanes(write: object) -> list[int]:
    return [1, 4] if write is sparse_mve.write else [1]


def fits(write: object, layer: Layer) -> bool:
    assert callable(write)
    try:
        write("", layer.nest)
    except TooLarge:
        return False
    return True


@cache
def layers(cpu: str) -> dict[str, Layer]:
    write = WRITERS[cpu]
    known = {
        f"{name}{', vectors of filters' * (lane > 1)}": replace(layer, stream=replace(layer.stream, lanes=lane))
        for name, layer in LAYERS.items()
        for lane in lanes(write)
    }
    return {**{name: layer for name, layer in known.items() if fits(write, layer)}, **drawn(write, 40)}


def foretold(layer: Layer, written: Written, packing: StreamPacking, weights: np.ndarray) -> int:
    """Instructions, with the turns of all loops."""
    groups = np.diff(packing.compressed(weights).starts.astype(np.int64))
    turns = np.maximum(-(-groups // layer.stream.unroll), 1)
    whole = layer.filters // layer.stream.width
    parts = [part for part in (turns[:whole], turns[whole:]) if len(part)]
    return written.instructions + sum(int(p.sum()) * n for p, n in zip(parts, written.turns, strict=True))


@cache
def computed(cpu: str) -> dict[str, tuple[np.ndarray, np.ndarray, int, int]]:
    """Of every layer: its output, numpy's, the instructions that a step took, and those foretold."""
    given, random = layers(cpu), np.random.default_rng(1)
    written = [WRITERS[cpu](f"tile_{i}", layer.nest) for i, layer in enumerate(given.values())]
    packings = [StreamPacking(layer.terms, layer.stream) for layer in given.values()]
    weights = [layer.weights(random) for layer in given.values()]
    x, bias, like = (random.standard_normal(size, FLOAT) for size in (31_000, 64, 4000))
    arguments = [
        ("x", f"w{i}", "bias", *["like"] * (each.stored == "residual")) for i, each in enumerate(given.values())
    ]
    calls = [Call(f"tile_{i}", (f"y{i}", *also), ("x",), (f"y{i}",)) for i, also in enumerate(arguments)]
    program = Program(
        inputs=(Buffer("x", FLOAT, x.shape),),
        outputs=tuple(Buffer(f"y{i}", FLOAT, (n.filters, n.row)) for i, n in enumerate(given.values())),
        constants=(
            *(Constant(f"w{i}", packings[i].pack(array)) for i, array in enumerate(weights)),
            Constant("bias", bias),
            Constant("like", like),
        ),
        temporaries=(),
        calls=tuple(calls),
        kernels=tuple(
            Kernel(call.kernel, (("float", False), *[("float", True)] * (len(call.arguments) - 1))) for call in calls
        ),
        sources={"tiles.S": "\n".join(["    .syntax unified", "    .thumb", "    .text", *(w.text for w in written)])},
    )
    with TemporaryDirectory(prefix="pruneir-") as folder:
        run = built(program, cpu, Path(folder), "profile").run([{"x": x}])
    return {
        name: (
            run.outputs[0][f"y{i}"],
            layer.sums(x, weights[i], bias, like),
            run.steps[i],
            foretold(layer, written[i], packings[i], weights[i]),
        )
        for i, (name, layer) in enumerate(given.items())
    }


@pytest.mark.qemu
@pytest.mark.parametrize(("cpu", "name"), [(cpu, name) for cpu in WRITERS for name in layers(cpu)])
def test_sums_and_instructions(cpu: str, name: str) -> None:
    found, wanted, counted, said = computed(cpu)[name]
    scale = np.abs(wanted).max()
    assert scale > 0
    assert np.abs(found - wanted).max() / scale < 1e-5
    assert counted - said in CALL


@pytest.mark.parametrize("cpu", WRITERS)
def test_every_layer_is_served_one_way(cpu: str) -> None:
    missing = {name for name in LAYERS if not any(each.startswith(name) for each in layers(cpu))}
    assert missing == set()


@pytest.mark.parametrize(
    ("write", "layer"),
    [
        (sparse_fpv4.write, Layer(8, 4, 1, CONV, Stream(8, 2))),
        (sparse_fpv4.write, Layer(4, 2, 1, DENSE, Stream(4, 2, block=2))),
        (sparse_mve.write, Layer(8, 8, 1, CONV, Stream(8, 2))),
        (sparse_mve.write, Layer(4, 4, 1, DENSE, Stream(4, 2, block=2))),
    ],
)
def test_what_has_no_registers_is_refused(write: object, layer: Layer) -> None:
    assert not fits(write, layer)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.4, 0.5, 0.6, 0.7])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_bytes_are_foretold(layer: Layer, kept: float) -> None:
    random, terms = np.random.default_rng(0), layer.terms
    drawn = [
        np.where(random.random((layer.filters, terms.distances.size)) < kept, FLOAT.type(1), FLOAT.type(0))
        for _ in range(2)
    ]
    for given in (drawn[:1], drawn):
        dense = sum(each.nbytes for each in given)
        for stream, turns in streams([terms.matrix(each) for each in given], terms, (1, 4)):
            nbytes = sum(StreamPacking(terms, stream).pack(each).nbytes for each in given)
            assert smaller(stream, turns, terms) == (nbytes < dense)
