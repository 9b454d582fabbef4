"""x86 artifacts of programs written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pruneir.artifact import Artifact
from pruneir.backends.lowering.program import Buffer, Call, Constant, Kernel, Program
from pruneir.backends.x86 import backend, project
from pruneir.backends.x86.backend import X86
from pruneir.backends.x86.cpu import cpu
from pruneir.graph import parse
from pruneir.targets import TARGETS

ITEMS = 37
SCALE = f"""
#include <string.h>
/* y[i] = scale * x[i], on what scratch held for a moment. */
void scale(void *const *p, void *scratch, long begin, long end) {{
    float *held = scratch;
    for (long i = begin; i < end; i++) {{
        memcpy(held, (const float *)p[0] + i, 4);
        ((float *)p[2])[i] = *(const float *)p[1] * *held;
    }}
}}
void k_turn(const float *x, float *y) {{
    for (int i = 0; i < {ITEMS}; i++)
        y[i] = x[{ITEMS} - 1 - i];
}}
"""


def scaled() -> Program:
    """y = 3 · x, turned around, in a step that threads share and one that they do not."""
    shape, dtype = (1, ITEMS), np.dtype(np.float32)
    return Program(
        inputs=(Buffer("x", dtype, shape),),
        outputs=(Buffer("y", dtype, shape),),
        constants=(Constant("first", np.ones(3, np.float32)), Constant("scale", np.array(3, np.float32))),
        temporaries=(Buffer("t", dtype, shape),),
        calls=(
            Call("scale", ("x", "scale", "t"), ("x",), ("t",), layer="scale", macs=ITEMS, items=ITEMS, scratch=4),
            Call("k_turn", ("t", "y"), ("t",), ("y",), layer="turn"),
        ),
        kernels=(Kernel("scale", (), divided=True), Kernel("k_turn", (("float", True), ("float", False)))),
        sources={"kernels.c": SCALE},
    )


def compiled(what: Program, folder: Path, *, free: bool = False, target: str = "x86-avx2", host: str = "") -> Artifact:
    """The artifact of a program."""
    folder.mkdir(exist_ok=True)
    machine = cpu(target, host)
    with pytest.MonkeyPatch.context() as patched:
        planned = backend._Plan(*project.planned(what), machine, free)
        patched.setattr(backend, "_planned", lambda *given: planned)
        graph = parse("x[1] -> y { y = Relu(x) }")
        made: Artifact = X86(host=host).compile(graph, TARGETS[target], folder, progress=lambda text, share: None)
    return made
