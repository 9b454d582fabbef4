"""Cortex-M processors as data: how to compile for each, and the emulated board that runs what was compiled.

The boards are ARM's MPS2 and MPS3 FPGA images as QEMU 7.2 models them. The v8-M ones start in the Secure state and stay
there, so they are given at the addresses of the Secure aliases. A clock is that of SysTick; QEMU advances it by
instructions executed (`-icount shift=6`: 64 ns each), which makes it a counter of instructions and of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from pruneir.errors import PruneirError

INSTRUCTION_NS = 64
"""Emulated nanoseconds an instruction, as `-icount shift=6` has them."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A range of addresses, in bytes."""

    origin: int
    length: int


@dataclass(frozen=True, slots=True)
class Board:
    """Where a firmware runs.

    machine  what QEMU calls it; empty if it has no such board, so that firmware is built but not run
    clock    of SysTick, in Hz
    flash    code, starting with the vectors, and constants
    ram      stack and variables
    spare    memory behind a slower bus, for constants or an arena that the others cannot hold
    """

    machine: str
    clock: int
    flash: Memory
    ram: Memory
    spare: Memory


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor.

    name   that of its target
    flags  of the compiler
    fpu    whether it adds and multiplies float32 in hardware
    mve    whether it has vectors of four float32
    extremes  whether it takes the larger or smaller of two float32 in one instruction
    """

    name: str
    flags: tuple[str, ...]
    board: Board
    fpu: bool = True
    mve: bool = False
    extremes: bool = False

    @property
    def macros(self) -> dict[str, int]:
        """What its runtime is compiled with: instructions a tick of SysTick, as a fraction."""
        over, under = 10**9, INSTRUCTION_NS * self.board.clock
        while over % 2 == under % 2 == 0:
            over, under = over // 2, under // 2
        while over % 5 == under % 5 == 0:
            over, under = over // 5, under // 5
        return {"INSTRUCTIONS": over, "TICKS": under}


_M4 = Board("mps2-an386", 25_000_000, Memory(0, 4 << 20), Memory(0x20000000, 4 << 20), Memory(0x21000000, 16 << 20))
_M7 = Board("mps2-an500", 25_000_000, Memory(0, 4 << 20), Memory(0x20000000, 4 << 20), Memory(0x60000000, 16 << 20))
_M33 = Board(
    "mps2-an505", 20_000_000, Memory(0x10000000, 4 << 20), Memory(0x38000000, 4 << 20), Memory(0x80000000, 16 << 20)
)
_M55 = Board(
    "mps3-an547", 32_000_000, Memory(0, 512 << 10), Memory(0x30000000, 512 << 10), Memory(0x70000000, 256 << 20)
)
_NONE = Board("", 25_000_000, Memory(0, 4 << 20), Memory(0x20000000, 4 << 20), Memory(0x21000000, 16 << 20))

CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu("cortex-m0plus", ("-mcpu=cortex-m0plus", "-mfloat-abi=soft"), _NONE, fpu=False),
        Cpu("cortex-m4", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"), _M4),
        Cpu("cortex-m7", ("-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"), _M7, extremes=True),
        Cpu("cortex-m33", ("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"), _M33, extremes=True),
        Cpu("cortex-m55", ("-mcpu=cortex-m55", "-mfpu=auto", "-mfloat-abi=hard"), _M55, mve=True, extremes=True),
    )
}


def cpu(name: str) -> Cpu:
    """The processor of a target. PruneirError for a target that is none."""
    if name not in CPUS:
        raise PruneirError(f"--target: '{name}' is no Cortex-M; targets are {', '.join(CPUS)}")
    return CPUS[name]
