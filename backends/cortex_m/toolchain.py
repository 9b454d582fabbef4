"""The GNU Arm toolchain: builds a project, and reads from the firmware how large it came out and what is in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pruneir.artifact import Flash
from pruneir.backends.lowering.make import make
from pruneir.errors import PruneirError

INSTALL = {
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "make": "apt-get install make",
    "qemu-system-arm": "apt-get install qemu-system-arm",
}
"""Programs that the backend calls, and the line that installs each."""

BUILT = Path("build")
_FORBIDDEN = re.compile(
    r"_*(TVM|tvm)\w*|_*(m|c|re)alloc(_r)?|_*free(_r)?|_*sbrk(_r)?|_*v?[fsnda]*i?printf(_r)?|_*f?puts(_r)?|_impure\w*"
)


@dataclass(frozen=True, slots=True)
class Sections:
    """Bytes of a firmware.

    flash    of the network: its kernels, its weights, what they need of libm and libc, vectors
    harness  of what runs it on the board, which a product replaces
    io, arena, variables   RAM: inputs and outputs, the arena, variables of the network's own
    """

    flash: Flash
    harness: int
    io: int
    arena: int
    variables: int


def missing(programs: Iterable[str] = INSTALL) -> list[str]:
    """Those of the programs that are not installed."""
    return [name for name in programs if shutil.which(name) is None]


def require(*programs: str) -> None:
    """PruneirError, with the line that installs it, for a program that is missing."""
    for name in missing(programs):
        raise PruneirError(f"Cortex-M: {name} is not installed; {INSTALL[name]}")


def build(folder: Path) -> None:
    """`make` in a project. PruneirError if a tool is missing, or with the compiler's first complaint."""
    require("make", "arm-none-eabi-gcc")
    if fault := make(folder, "all"):
        raise PruneirError(f"{folder}: the firmware does not build: {fault}")


@cache
def version() -> str:
    """The compiler's version."""
    require("arm-none-eabi-gcc")
    return _said("arm-none-eabi-gcc", "-dumpfullversion").strip()


def sections(elf: Path) -> Sections:
    """The sizes of a firmware's sections."""
    sizes: dict[str, int] = {}
    for line in _said("arm-none-eabi-size", "-A", "-d", str(elf)).splitlines():
        words = line.split()
        if len(words) == 3 and words[1].isdigit():
            sizes[words[0]] = int(words[1])
    code = sum(sizes.get(name, 0) for name in (".vectors", ".text", ".ARM.exidx"))
    constants = sum(sizes.get(name, 0) for name in (".rodata", ".weights"))
    data = sizes.get(".data", 0)
    variables = data + sizes.get(".bss", 0)
    flash = Flash(text=code, rodata=constants, data=data)
    return Sections(flash, sizes.get(".harness", 0), sizes.get(".io", 0), sizes.get(".arena", 0), variables)


def symbols(elf: Path) -> list[str]:
    """The names of everything that is in a firmware."""
    return [line.split()[-1] for line in _said("arm-none-eabi-nm", str(elf)).splitlines() if line.strip()]


def forbidden(names: Iterable[str]) -> list[str]:
    """The names that have no place on bare metal: allocation, formatted output, TVM's runtime."""
    return sorted({name for name in names if _FORBIDDEN.fullmatch(name)})


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
