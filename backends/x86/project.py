"""A Program as a folder of C that `make` builds into one library.

    model.h, model.c        the interface; what runs the steps
    network.h, network.c    the steps, as tables
    weights.S, weights.bin  the constants, as the kernels read them
    pool.c, peak.c, …       threads; the measure of what the processor can do; headers of kernels
    Makefile, example.cpp, README.md

The constants are bytes that the assembler includes, not numbers that a compiler reads. The same program gives the same
bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pruneir.backends.lowering.arena import Arena, place
from pruneir.backends.lowering.program import Buffer, Call, Kernel, Program
from pruneir.backends.x86.cpu import X86Cpu
from pruneir.backends.x86.csource import ALIGNMENT, Network, aligned, elements
from pruneir.backends.x86.toolchain import Toolchain

RUNTIME = Path(__file__).parent / "runtime"
_CTYPES = {"float32": "float", "float64": "double", "bool": "uint8_t"}


def planned(program: Program) -> tuple[Program, Arena]:
    """The program with its outputs where the caller wants them, and its arena."""
    program = _copied(program)
    return program, place(program, alignment=ALIGNMENT)


def write(folder: Path, program: Program, arena: Arena, cpu: X86Cpu, tools: Toolchain) -> None:
    """Write the project of a planned program."""
    for name, text in files(program, arena, cpu, tools).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    with (folder / "weights.bin").open("wb") as file:
        for constant in program.constants:
            np.ascontiguousarray(constant.values).tofile(file)
            file.write(bytes(aligned(constant.nbytes) - constant.nbytes))


def files(program: Program, arena: Arena, cpu: X86Cpu, tools: Toolchain) -> dict[str, str]:
    """The project's text files by name."""
    network = Network(program, arena, cpu)
    fixed = {path.name: path.read_text(encoding="utf-8") for path in sorted(RUNTIME.iterdir()) if path.suffix != ".in"}
    written = {**fixed, "network.c": network.source(), "weights.S": network.weights()}
    twice = sorted((written.keys() | {"model.h"}) & program.sources.keys())
    twice += [name for name, count in Counter(each.name for each in program.temporaries).items() if count > 1]
    if twice:
        raise ValueError(f"a program's names must be its own, and none may stand for two things: {twice}")
    headers = [name for name in (*written, "model.h", *program.sources) if name.endswith(".h")]
    templates = {
        "model.h": {
            "STORY": network.story(),
            "INPUTS": len(program.inputs),
            "OUTPUTS": len(program.outputs),
            "STEPS": len(program.calls),
        },
        "Makefile": {
            **tools.commands,
            "LIBRARY": tools.library,
            "ARCH": " ".join(cpu.flags),
            "SOURCES": " ".join(sorted(name for name in program.sources if name.endswith(".c"))),
            "HEADERS": " ".join(sorted(headers)),
        },
        "example.cpp": _example(program),
        "README.md": _story(program, arena, cpu, tools),
    }
    return {**written, **{name: _filled(f"{name}.in", values) for name, values in templates.items()}, **program.sources}


def _copied(program: Program) -> Program:
    """The program with a step behind the others for each output that is an input, or another value's memory."""
    given = {each.name for each in program.inputs}
    elsewhere = [each for each in program.outputs if program.owner(each.name) != each.name or each.name in given]
    calls, kernels, text = list(program.calls), list(program.kernels), []
    for output in elsewhere:
        owner, name = program.owner(output.name), f"lay_out_{output.nbytes}"
        inside = owner in {each.name for each in program.constants}
        calls.append(Call(name, (owner, output.name), () if inside else (owner,), (output.name,), layer="copy"))
        if name not in {kernel.name for kernel in kernels}:
            kernels.append(Kernel(name, (("void", True), ("void", False))))
            text.append(f"void {name}(const void *from, void *to) {{ memcpy(to, from, {output.nbytes}); }}\n")
    if not elsewhere:
        return program
    return replace(
        program,
        calls=tuple(calls),
        kernels=tuple(kernels),
        aliases={k: v for k, v in program.aliases.items() if k not in {each.name for each in elsewhere}},
        sources={**program.sources, "lay_out.c": "#include <string.h>\n" + "".join(text)},
    )


def _example(program: Program) -> dict[str, object]:
    sides = {"input": program.inputs, "output": program.outputs}
    arrays = [
        f"    std::vector<{_ctype(buffer)}> {side}_{index}({max(elements(buffer), 1)});"
        for side, buffers in sides.items()
        for index, buffer in enumerate(buffers)
    ]
    pointers = {side: [f"{side}_{index}.data()" for index, _ in enumerate(buffers)] for side, buffers in sides.items()}
    return {
        "ARRAYS": "\n".join(arrays),
        "INPUTS": ", ".join(pointers["input"]) or "nullptr",
        "OUTPUTS": ", ".join(pointers["output"]),
    }


def _story(program: Program, arena: Arena, cpu: X86Cpu, tools: Toolchain) -> dict[str, object]:
    needs = f"a processor with {', '.join(cpu.features)}" if cpu.features else f"a machine of the kind {tools.host}"
    link = "cc app.c libmodel.a -lm -lpthread" if tools.host else "cc app.c -L. -lmodel -Wl,-rpath,'$ORIGIN'"
    return {
        "CPU": cpu.name,
        "LIBRARY": tools.library,
        "MACS": f"{sum(call.macs for call in program.calls):,}",
        "WEIGHTS": f"{weight_bytes(program):,}",
        "ARENA": f"{arena.size:,}",
        "NEEDS": needs,
        "LINE": link,
        "TOOLS": tools.install,
    }


def weight_bytes(program: Program) -> int:
    """Bytes of weights.bin."""
    return sum(aligned(each.nbytes) for each in program.constants)


def _ctype(buffer: Buffer) -> str:
    return _CTYPES.get(buffer.dtype.name, f"{buffer.dtype.name}_t")


def _filled(template: str, values: Mapping[str, object]) -> str:
    text = (RUNTIME / template).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text
