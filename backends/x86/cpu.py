"""The processors that code is written for, and what this machine has."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pruneir.errors import PruneirError

_CPUINFO = Path("/proc/cpuinfo")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_X86 = ("x86_64", "amd64")


@dataclass(frozen=True, slots=True)
class X86Cpu:
    """A processor.

    lanes      float32 numbers in a vector
    flags      of the C compiler
    features   instruction sets that it must have, as /proc/cpuinfo and __builtin_cpu_supports name them
    l1, l2     bytes of a core's caches, for data; those of common processors, so that one target means one code
    registers  vectors that they hold
    """

    name: str
    lanes: int
    flags: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    l1: int = 32 << 10
    l2: int = 512 << 10
    registers: int = 16


AVX2 = X86Cpu("x86-avx2", 8, ("-mavx2", "-mfma"), ("avx2", "fma"))
AVX512 = X86Cpu(
    "x86-avx512",
    16,
    (*AVX2.flags, "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mprefer-vector-width=512"),
    (*AVX2.features, "avx512f", "avx512vl", "avx512bw", "avx512dq"),
    l2=1 << 20,
    registers=32,
)
PORTABLE = X86Cpu("portable", 4, registers=32)
"""Vectors of four, in whatever instructions the architecture's compiler makes of them: SSE is left out, NEON fits."""

GHZ = 3
"""The clock that predicted times are told at: near what cores of servers keep up."""

CPUS = {"x86": AVX2, AVX2.name: AVX2, AVX512.name: AVX512}
"""By target; what `x86` is, depends on the machine."""


def cpu(target: str, host: str = "") -> X86Cpu:
    """The processor of a target.

    host  triple of the machine that the code is for, such as `aarch64-linux-gnu`; empty: this one

    PruneirError where this machine is no x86 and no host is given.
    """
    architecture = (host.partition("-")[0] if host else platform.machine()).lower()
    if architecture not in _X86:
        if not host:
            raise PruneirError(f"--target {target}: this machine is {architecture}; give --host x86_64-linux-gnu")
        return replace(PORTABLE, name=f"{architecture} (portable vectors)")
    if target == "x86" and not host and {*AVX512.features} <= features():
        return AVX512
    return CPUS[target]


@cache
def features() -> frozenset[str]:
    """Instruction sets of this machine; none where the system does not list them."""
    found = re.search(r"^flags\s*:(.*)$", _CPUINFO.read_text(), re.M) if _CPUINFO.exists() else None
    return frozenset(found[1].split() if found else ())


def cores() -> int:
    """Physical cores that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(number) for number in os.sched_getaffinity(0)})


def _siblings(number: int) -> str:
    """What the processors of one core have in common."""
    path = Path(_SIBLINGS.format(number))
    return path.read_text().strip() if path.exists() else str(number)
