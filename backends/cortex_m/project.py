"""A Program as a C project: files that `make` builds and `make run` runs in QEMU, with nothing from outside.

    model.h, model.c       the interface; the kernels' calls in order, with their places in the arena
    weights.S, weights.bin the constants, as the kernels read them
    kernels.c, …           the program's own sources
    main.c, startup.c, …   what runs it on a board: replace them with your own
    Makefile, link.ld      how it is built

The constants are bytes that the assembler includes, not numbers that a compiler reads: a megabyte of weights costs no
time to write or build, and every bit stays. The same program gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pruneir.backends.cortex_m.cpus import INSTRUCTION_NS, Cpu
from pruneir.backends.cortex_m.csource import ALIGNMENT, Model, Names
from pruneir.backends.lowering.arena import Arena
from pruneir.backends.lowering.program import Program
from pruneir.errors import PruneirError

RUNTIME = Path(__file__).parent / "runtime"
STACK = 8192
"""Bytes that the firmware has for its stack; what a network uses of them is measured."""


def write(folder: Path, program: Program, arena: Arena, cpu: Cpu) -> None:
    """Write the project. PruneirError for a type that C has no word for, or a network that the board cannot hold."""
    for name, text in files(program, arena, cpu).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    with (folder / "weights.bin").open("wb") as file:
        for constant in program.constants:
            np.ascontiguousarray(constant.values).tofile(file)


def files(program: Program, arena: Arena, cpu: Cpu) -> dict[str, str]:
    """The project's text files by name."""
    model = Model(program, arena, Names.of(program))
    runtime = {
        path.name: path.read_text(encoding="utf-8") for path in sorted(RUNTIME.iterdir()) if path.suffix != ".in"
    }
    written = {
        **runtime,
        "model.h": model.header(),
        "model.c": model.source(),
        "weights.S": model.weights(),
        "link.ld": _filled("link.ld.in", _layout(program, arena, cpu)),
        "Makefile": _filled("Makefile.in", _build(program, cpu)),
        "README.md": _filled("README.md.in", _story(program, arena, cpu)),
    }
    twice = sorted(written.keys() & program.sources.keys())
    twice += [name for name, count in Counter(b.name for b in program.temporaries).items() if count > 1]
    if twice:
        raise ValueError(f"a program's names must be its own, and none may stand for two things: {twice}")
    return {**written, **program.sources}


def qemu_flags(cpu: Cpu) -> str:
    """How QEMU runs a firmware, but for the file: without a screen, with semihosting, counting instructions."""
    shift = INSTRUCTION_NS.bit_length() - 1
    return (
        f"-M {cpu.board.machine} -display none -monitor none -serial none"
        f" -semihosting-config enable=on,target=native -icount shift={shift}"
    )


def _layout(program: Program, arena: Arena, cpu: Cpu) -> dict[str, object]:
    """Regions: everything in flash and RAM as long as it fits, what is too large for them in the spare memory."""
    board = cpu.board
    weights = sum(aligned(each.nbytes) for each in program.constants)
    io = sum(aligned(each.nbytes) for each in (*program.inputs, *program.outputs))
    flash, ram, spare = board.flash.length // 2, board.ram.length - 4 * STACK, board.spare.length
    places = {"WEIGHTS": "FLASH", "ARENA": "RAM", "IO": "RAM"}
    if weights > flash:
        places["WEIGHTS"], spare = "SPARE", spare - weights
    for what, size in (("ARENA", arena.size), ("IO", io)):
        if size > ram:
            places[what], spare = "SPARE", spare - size
        else:
            ram -= size
    if spare < 0:
        raise PruneirError(
            f"the network needs {weights:,} bytes of weights and {arena.size + io:,} of activations, more than"
            f" {board.machine or cpu.name} has; prune it, or give a smaller --input-shape"
        )
    regions = {"FLASH": board.flash, "RAM": board.ram, "SPARE": board.spare}
    numbers = {f"{name}_ORIGIN": f"{memory.origin:#010x}" for name, memory in regions.items()}
    lengths = {f"{name}_LENGTH": f"{memory.length >> 10}K" for name, memory in regions.items()}
    return {"MACHINE": board.machine or cpu.name, "STACK": STACK, **places, **numbers, **lengths}


def _build(program: Program, cpu: Cpu) -> dict[str, object]:
    sources = sorted(name for name in program.sources if Path(name).suffix in (".c", ".S", ".s"))
    run = f"$(QEMU) {qemu_flags(cpu)} -kernel $<"
    return {
        "CPU": " ".join(cpu.flags),
        "DEFINES": " ".join(f"-D{name}={value}" for name, value in cpu.macros.items()),
        "SOURCES": " ".join(sources),
        "HEADERS": " ".join(sorted(name for name in program.sources if Path(name).suffix == ".h")),
        "RUN": run if cpu.board.machine else f"@echo QEMU has no board of {cpu.name}; exit 1",
    }


def _story(program: Program, arena: Arena, cpu: Cpu) -> dict[str, object]:
    macs = sum(call.macs for call in program.calls)
    weights = sum(each.nbytes for each in program.constants)
    run = f"`make run` runs it in QEMU ({cpu.board.machine}) on inputs.bin and prints the instructions that it took"
    return {
        "CPU": cpu.name,
        "MACS": f"{macs:,}",
        "WEIGHTS": f"{weights:,}",
        "ARENA": f"{arena.size:,}",
        "RUN": run if cpu.board.machine else "QEMU has no board of this processor, so there is no `make run`",
    }


def _filled(template: str, values: Mapping[str, object]) -> str:
    text = (RUNTIME / template).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def aligned(size: int) -> int:
    """Bytes with what the next value's alignment adds."""
    return int(-(-size // ALIGNMENT) * ALIGNMENT)
