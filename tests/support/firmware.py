"""Programs written by hand: kernels in C, calls as one would write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from pruneir.artifact import Port
from pruneir.backends.cortex_m import project, toolchain
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.cortex_m.qemu import Firmware
from pruneir.backends.lowering.arena import place
from pruneir.backends.lowering.program import Buffer, Call, Constant, Kernel, Program
from support.quick import only_quick

EMULATED = [name for name, cpu in CPUS.items() if cpu.board.machine]
LIKE = only_quick(EMULATED, "cortex-m4", "cortex-m55")
"""The same for tests of which a quick run has one for each instruction set."""

DENSE = """
#include <math.h>
void k_dense(const float *x, const float *w, float *t)
{
    for (int o = 0; o < 5; o++) {
        t[o] = 0;
        for (int i = 0; i < 40; i++)
            t[o] += x[i] * w[o * 40 + i];
    }
}
void k_exp(const float *t, float *y)
{
    for (int o = 0; o < 5; o++)
        y[o] = expf(t[o]);
}
"""
WEIGHTS = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32) / 6


def program(
    calls: str,
    source: str,
    *,
    inputs: str = "x[1]",
    outputs: str = "y[1]",
    temporaries: str = "",
    constants: Mapping[str, np.ndarray] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Program:
    """The program `k(x, w, y); …` of kernels `void k(const float *, …)`; what a call may change, it writes."""
    kernels = {kernel.name: kernel for kernel in _kernels(source)}
    steps = []
    for name, given in re.findall(r"(\w+)\(([^)]*)\)", calls):
        arguments = tuple(re.split(r",\s*", given))
        roles = list(zip(arguments, kernels[name].parameters, strict=True))
        reads = tuple(each for each, (_, const) in roles if const)
        writes = tuple(each for each, (_, const) in roles if not const)
        steps.append(Call(name, arguments, reads, writes, layer=name.removeprefix("k_"), macs=7))
    return Program(
        inputs=tuple(_buffers(inputs)),
        outputs=tuple(_buffers(outputs)),
        constants=tuple(Constant(name, array) for name, array in (constants or {}).items()),
        temporaries=tuple(_buffers(temporaries)),
        calls=tuple(steps),
        kernels=tuple(kernels.values()),
        aliases=aliases or {},
        sources={"kernels.c": source},
    )


def dense() -> Program:
    """y = exp(W·x), in two steps."""
    return program(
        "k_dense(x, w, t); k_exp(t, y)",
        DENSE,
        inputs="x[1,40]",
        outputs="y[1,5]",
        temporaries="t[1,5]",
        constants={"w": WEIGHTS},
    )


def built(what: Program, cpu: str, folder: Path, name: str = "model") -> Firmware:
    """The firmware of a program."""
    project.write(folder, what, place(what), CPUS[cpu])
    toolchain.build(folder)
    inputs, outputs = (tuple(Port(b.name, b.dtype.name, b.shape) for b in side) for side in (what.inputs, what.outputs))
    return Firmware(folder / "build" / f"{name}.elf", CPUS[cpu], inputs, outputs)


def without_programs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A machine on which no program is installed."""
    monkeypatch.setenv("PATH", str(folder))


def _kernels(source: str) -> Iterator[Kernel]:
    for name, given in re.findall(r"^void (k_\w+)\(([^)]*)\)", source, re.M):
        found = re.findall(r"(const )?(\w+) \*", given)
        yield Kernel(name, tuple((ctype, bool(const)) for const, ctype in found))


def _buffers(text: str) -> Iterator[Buffer]:
    for kind, name, shape in re.findall(r"(?:(\w+) )?([^\s\[]+)\[([\d,]*)\]", text):
        sizes = tuple(int(size) for size in shape.split(",") if size)
        yield Buffer(name, np.dtype(kind or "float32"), sizes)
