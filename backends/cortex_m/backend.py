"""The backend `cortex-m`: a network as a C project for bare metal, with TVM's kernels and no runtime."""

# ruff: noqa: PLC0415 - TVM is imported when something is compiled
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from pruneir.artifact import Artifact, Footprint, Manifest, Port, Ram, read_manifest
from pruneir.backend import Backend
from pruneir.backends.cortex_m import project, toolchain
from pruneir.backends.cortex_m.artifact import CortexMArtifact
from pruneir.backends.cortex_m.cpus import CPUS, cpu
from pruneir.backends.cortex_m.qemu import packed
from pruneir.backends.cortex_m.sizes import io_bytes, predicted
from pruneir.backends.lowering.arena import Arena, place
from pruneir.backends.lowering.last import Last
from pruneir.backends.lowering.program import Buffer, Program
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.progress import Progress
from pruneir.targets import Target


@dataclass(frozen=True)
class CortexM(Backend):
    """Static memory, no allocation, no runtime: kernels of TVM, scheduled for the processor's registers."""

    name: ClassVar[str] = "cortex-m"
    targets: ClassVar[tuple[str, ...]] = tuple(CPUS)

    def predict(self, graph: Graph, target: Target) -> Footprint:
        """Memory by the kernels and the arena that the network gets; how long its code is, is an estimate."""
        footprint: Footprint = predicted(*_planned(graph, target))
        return footprint

    def compile(self, graph: Graph, target: Target, folder: Path, *, progress: Progress) -> Artifact:
        """Write the project, build it, and read from the firmware how large it is.

        PruneirError for an operator or type that has no kernel, a network that the board cannot hold, and a missing
        compiler.
        """
        from pruneir.verify.feeds import random_feeds

        toolchain.require("make", "arm-none-eabi-gcc")
        progress("lower", 0.0)
        program, arena = _planned(graph, target)
        progress("write", 0.5)
        project.write(folder, program, arena, cpu(target.name))
        inputs, outputs = _ports(program.inputs), _ports(program.outputs)
        (folder / "inputs.bin").write_bytes(b"".join(packed(random_feeds(graph, batch=1), inputs)))
        files = sorted(path for path in folder.iterdir() if path.is_file())
        details = _details(program, arena, files)
        progress("build", 0.6)
        toolchain.build(folder)
        sections = toolchain.sections(folder / toolchain.BUILT / "model.elf")
        ram = Ram(arena=arena.size, io=io_bytes(program), static=sections.variables)
        Manifest(
            self.name,
            target.name,
            inputs,
            outputs,
            Footprint(sections.flash, ram),
            {"pruneir": version("pruneir"), "tvm": version("apache-tvm"), "gcc": toolchain.version()},
            {**details, "harness": sections.harness},
            program.storages(),
        ).write(folder)
        return self.open(folder)

    def open(self, folder: Path) -> Artifact:
        """An artifact of this backend."""
        manifest = read_manifest(folder)
        if manifest.target not in CPUS or not {"layers", "arena"} <= manifest.details.keys():
            raise PruneirError(f"{folder}/manifest.json: is for no Cortex-M that this version knows; compile it again")
        artifact: Artifact = CortexMArtifact(folder, manifest)
        return artifact


_LAST = Last[tuple[Program, Arena]]()


def _planned(graph: Graph, target: Target) -> tuple[Program, Arena]:
    """The kernels of a network, and its arena."""
    try:
        from pruneir.backends.cortex_m.lower import lowered
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("tvm", "tvm_ffi"):
            raise
        raise PruneirError("Cortex-M: TVM is not installed; pip install 'pruneir[tvm]'") from None

    def plan() -> tuple[Program, Arena]:
        program = lowered(graph, cpu(target.name))
        return program, place(program)

    planned: tuple[Program, Arena] = _LAST.of(graph, target.name, plan)
    return planned


def _ports(buffers: tuple[Buffer, ...]) -> tuple[Port, ...]:
    return tuple(Port(each.name, each.dtype.name, each.shape) for each in buffers)


def _details(program: Program, arena: Arena, files: list[Path]) -> dict[str, Any]:
    """What the manifest says beyond sizes: the steps, the arena byte by byte, and what each file holds."""
    sizes = {each.name: each.nbytes for each in program.temporaries}
    values = [
        {"name": name, "offset": arena.offsets[name], "bytes": size, "calls": list(arena.lives[name])}
        for name, size in sizes.items()
        if name in arena.offsets
    ]
    return {
        "layers": [
            {"name": call.layer or call.kernel, "kernel": call.kernel, "macs": call.macs, "schedule": call.schedule}
            for call in program.calls
        ],
        "arena": {"size": arena.size, "lower_bound": arena.lower_bound, "values": values},
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }
