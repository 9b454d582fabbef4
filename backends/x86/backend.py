"""The backend `x86`: a network as one library with a bare C interface, and threads of its own."""

# ruff: noqa: PLC0415 - what is slow to import waits until something is compiled
from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from pruneir.artifact import Artifact, Flash, Footprint, Manifest, Port, Ram, read_manifest
from pruneir.backend import Backend
from pruneir.backends.lowering.arena import Arena
from pruneir.backends.lowering.last import Last
from pruneir.backends.lowering.program import Buffer, Program
from pruneir.backends.lowering.standard import standard
from pruneir.backends.x86 import project
from pruneir.backends.x86.artifact import X86Artifact
from pruneir.backends.x86.cpu import CPUS, GHZ, X86Cpu, cpu
from pruneir.backends.x86.toolchain import Toolchain
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.progress import Progress
from pruneir.targets import Target

_CODE = 24_000
"""Bytes of the library that are no weights: of what runs the steps, its tables and ELF's own."""
_TEXT = {"kernel": 5_000, "character": 0.6}
"""Bytes of machine code: of a kernel from a template, of a character of C that TVM wrote."""


@dataclass(frozen=True)
class X86(Backend):
    """Kernels for AVX2 or AVX-512, in C, built by this machine's compiler.

    threads  that a run uses; 0: as many as there are cores where it runs
    host     triple of another machine, such as aarch64-linux-gnu: an archive that is linked there
    """

    name: ClassVar[str] = "x86"
    targets: ClassVar[tuple[str, ...]] = tuple(CPUS)
    static: ClassVar[bool] = False
    clocked: ClassVar[str] = f"one core at {GHZ} GHz"

    threads: int = 0
    host: str = ""

    def predict(self, graph: Graph, target: Target) -> Footprint:
        """Weights and arena as they will be; how long the code is, is an estimate."""
        plan = self._plan(graph, target)
        program = plan.program
        divided = sum(kernel.divided for kernel in program.kernels)
        written = sum(len(text) for name, text in program.sources.items() if name.endswith(".c"))
        text = _TEXT["kernel"] * divided if divided else _TEXT["character"] * written
        return Footprint(Flash(round(_CODE + text), project.weight_bytes(program)), _ram(program, plan.arena))

    def predict_ms(self, graph: Graph, target: Target) -> float:
        """The cycles that its steps should take, at a nominal clock, wherever this runs: `x86` counts as AVX2.

        For comparing networks for one machine. A symbolic batch counts as 1; PruneirError for other symbolic sizes.
        """
        from pruneir.backends.x86.predict import milliseconds
        from pruneir.deployment.prepare import cleaned, with_fixed_sizes

        graph = standard(graph)
        fixed = with_fixed_sizes(graph, target.name)
        machine = cpu(target.name, self.host or "x86_64")
        return float(milliseconds(graph if fixed is graph else cleaned(fixed), machine))

    def compile(self, graph: Graph, target: Target, folder: Path, *, progress: Progress) -> Artifact:
        """Write the project and build its library.

        PruneirError for what has no kernel, a symbolic size, and a missing compiler.
        """
        tools = Toolchain(self.host)
        tools.require()
        progress("lower", 0.0)
        plan = self._plan(graph, target)
        _LAST.forget()
        program, arena = plan.program, plan.arena
        progress("write", 0.4)
        project.write(folder, program, arena, plan.cpu, tools)
        progress("build", 0.5)
        tools.build(folder)
        code = (folder / tools.library).stat().st_size - project.weight_bytes(program)
        Manifest(
            self.name,
            target.name,
            _ports(program.inputs, free=plan.free),
            _ports(program.outputs, free=plan.free),
            Footprint(Flash(code, project.weight_bytes(program)), _ram(program, arena)),
            {"pruneir": version("pruneir"), "cc": tools.version()},
            {
                "cpu": asdict(plan.cpu),
                "host": self.host,
                "library": tools.library,
                "threads": self.threads,
                "layers": [
                    {
                        "name": call.layer or call.kernel,
                        "kernel": call.kernel,
                        "macs": call.macs,
                        "schedule": call.schedule,
                    }
                    for call in program.calls
                ],
                "arena": {"size": arena.size, "lower_bound": arena.lower_bound},
                "files": {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file()},
            },
            program.storages(),
        ).write(folder)
        return self.open(folder)

    def open(self, folder: Path) -> Artifact:
        """An artifact of this backend; its library is loaded when it first runs."""
        manifest = read_manifest(folder)
        if not {"cpu", "host", "library", "threads", "layers", "arena", "files"} <= manifest.details.keys():
            raise PruneirError(
                f"{folder}/manifest.json: is of no x86 artifact that this version knows; compile it again"
            )
        artifact: Artifact = X86Artifact(folder, manifest)
        return artifact

    def _plan(self, graph: Graph, target: Target) -> _Plan:
        if self.threads < 0:
            raise PruneirError(
                f"backend x86: {self.threads} threads; give 1 or more, or 0 for as many as there are cores"
            )
        machine = cpu(target.name, self.host)
        plan: _Plan = _LAST.of(graph, machine, lambda: _planned(graph, target.name, machine))
        return plan


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is written: the program, its arena, and whether it is one sample of any batch."""

    program: Program
    arena: Arena
    cpu: X86Cpu
    free: bool


_LAST = Last[_Plan]()


def _planned(graph: Graph, target: str, machine: X86Cpu) -> _Plan:
    from pruneir.backends.x86.batch import of_one_sample

    fixed, free = of_one_sample(standard(graph), target)
    try:
        from pruneir.backends.x86.lower import lowered

        program = lowered(fixed, machine)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("tvm", "tvm_ffi"):
            raise
        raise PruneirError("x86: TVM is not installed; pip install 'pruneir[tvm]'") from None
    program, arena = project.planned(program)
    return _Plan(program, arena, machine, free)


def _ram(program: Program, arena: Arena) -> Ram:
    """Of one handle with one thread."""
    io = sum(each.nbytes for each in (*program.inputs, *program.outputs))
    return Ram(arena=arena.size, io=io, static=max((call.scratch for call in program.calls), default=0))


def _ports(buffers: tuple[Buffer, ...], *, free: bool) -> tuple[Port, ...]:
    return tuple(Port(b.name, b.dtype.name, (None, *b.shape[1:]) if free else b.shape) for b in buffers)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
