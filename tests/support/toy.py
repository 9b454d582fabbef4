"""A backend without a machine: an artifact is the network itself, in ONNX Runtime, with figures that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pruneir.artifact import (
    Array,
    Artifact,
    Flash,
    Footprint,
    LayerProfile,
    Manifest,
    Port,
    Profile,
    Ram,
    read_manifest,
)
from pruneir.backend import Backend
from pruneir.cost import macs_by_operator
from pruneir.coupling import couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io import load, save
from pruneir.onnx_io.evaluate import evaluate
from pruneir.progress import Progress
from pruneir.sparsity import weights
from pruneir.storage import Format, Storage
from pruneir.targets import Target

TEXT = 1000


@dataclass(frozen=True)
class ToyArtifact(Artifact):
    """Runs `net.onnx`; every weight takes four instructions a use, or some ms."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        graph = load(self.folder / "net.onnx")
        found = next(iter(evaluate(graph, graph.outputs, [inputs])))
        return {name: (a + np.float32(self.manifest.details["error"])).astype(a.dtype) for name, a in found.items()}

    def profile(self, inputs: Mapping[str, Array]) -> Profile:
        self.run(inputs)
        macs = macs_by_operator(couple(load(self.folder / "net.onnx")))
        counted = self.manifest.details["unit"] == "instructions"
        layers = tuple(
            LayerProfile(
                operator.name,
                f"{operator.type.lower()}_{index}",
                work,
                "default" if operator.type == "Gemm" else "tile 2x2",
                4 * work if counted else None,
                None if counted else 1e-5 * work,
            )
            for index, (operator, work) in enumerate(macs.items())
        )
        total = sum(macs.values())
        sizes = self.manifest.sizes
        ram = None if sizes.ram is None else Ram(sizes.ram.arena, sizes.ram.io, 512, 8)
        unit: dict[str, Any] = {"instructions": 4 * total} if counted else {"ms": 1e-5 * total}
        return Profile(total, layers, flash=sizes.flash, ram=ram, arena_lower_bound=2000, machine="abacus", **unit)


@dataclass(frozen=True)
class Toy(Backend):
    """Options that spoil it, one by one.

    error  added to every output
    unit   of its profiles
    silent does not say what it needs
    fails  stops half-way
    """

    name = "toy"
    targets = ("cortex-m4", "toy-1")
    error: float = 0.0
    unit: Literal["instructions", "ms"] = "instructions"
    silent: bool = False
    fails: bool = False

    def predict(self, graph: Graph, target: Target) -> Footprint:
        return Footprint() if self.silent else _sizes(graph)

    def compile(self, graph: Graph, target: Target, folder: Path, *, progress: Progress) -> Artifact:
        assert not any(folder.iterdir())
        save(graph, folder / "net.onnx")
        if self.fails:
            raise PruneirError("node 'c' (Conv) is too much for toys; give it less")
        details = {"error": self.error, "unit": self.unit}
        sizes = Footprint() if self.silent else _sizes(graph)
        ports = [tuple(_port(graph, name) for name in names) for names in (graph.data_inputs, graph.outputs)]
        stored = tuple(_storages(graph))
        Manifest("toy", target.name, ports[0], ports[1], sizes, {"toy": "1"}, details, stored).write(folder)
        return self.open(folder)

    def open(self, folder: Path) -> Artifact:
        return ToyArtifact(folder, read_manifest(folder))


class Entry:
    value = "tests:Kind"

    def __init__(self, kind: type | Exception):
        self.kind = kind

    def load(self) -> type:
        if isinstance(self.kind, Exception):
            raise self.kind
        return self.kind


def entries(**given: type | Exception) -> dict[str, Entry]:
    """What entry points would give."""
    return {name: Entry(kind) for name, kind in given.items()}


def _storages(graph: Graph) -> Iterator[Storage]:
    """Of weights with zeros."""
    for weight in weights(graph):
        kept, dense = int(np.count_nonzero(weight.array)), Format(0, 0, weight.array.nbytes, 4 * weight.array.size)
        if kept < weight.array.size:
            formats = (dense, Format(8, 1, 5 * kept, 3 * kept))
            yield Storage(weight.uses[0][0].name, weight.array.size, kept, "instructions", formats, 1)


def _sizes(graph: Graph) -> Footprint:
    weights = sum(array.nbytes for array in graph.initializers.values())
    return Footprint(Flash(TEXT, weights), Ram(arena=2048, io=256))


def _port(graph: Graph, name: str) -> Port:
    kind = graph.type_of(name)
    assert kind is not None
    assert kind.shape is not None
    return Port(name, "float32", tuple(size if isinstance(size, int) else None for size in kind.shape))
