"""What an x86 kernel executes, on whatever processor: its blocks in order, and the addresses that it reads and writes.

    C ──gcc──▶ assembly ──▶ the same without vector instructions, where blocks and addresses are written down ──▶ Trace

What a kernel does next depends on lengths and indices alone, never on a vector. So a copy in which only the vector
instructions are missing takes every branch as the kernel does, on any x86 processor: also AVX-512's.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmarks.sparse_x86_kernels import Case
from benchmarks.x86_kernels import FINISH, FLAGS, RUNTIME, aligned

from pruneir.backends.x86.cpu import X86Cpu

WINDOW, WINDOWS = 4000, 8
"""Instructions of a window, and how many there are, evenly spaced."""
MOST = 1 << 27
"""Blocks that a kernel may run, and addresses: what there is room for."""
_MEMORY = re.compile(r"[-\w.+]*\((?!%r[si]p)[^)]*%[^)]*\)")
_VECTOR = re.compile(r"%[xyz]mm\d|%k[0-7]\b|^vzero")
_HELD = re.compile(r"^vmov(?:[dq]|dq[au](?:8|16|32|64)?|[au]p[sd])$")
_TO_SCALARS = re.compile(r"^(vu?comis|v?cvtt?s[sd]2|vmovmsk|vpmovmsk|vpextr|vp?test|kortest|ktest|kmov.*, %[re])")


def source(case: Case, lanes: int) -> str:
    """The C of a kernel `kernel`, with bias and Relu."""
    kernel = case.kernel.source("kernel", FINISH.format(name="kernel"))
    return f'#define VL {lanes}\n#include "tile.h"\n{kernel}'


def compiled(text: str, cpu: X86Cpu, folder: Path) -> str:
    """Assembly, as it is in libraries."""
    flags = [*FLAGS, *cpu.flags, "-fno-asynchronous-unwind-tables", "-S", "-I", str(RUNTIME)]
    (folder / "kernel.c").write_text(text)
    subprocess.run(["cc", *flags, "kernel.c", "-o", "kernel.s"], cwd=folder, check=True)
    return (folder / "kernel.s").read_text()


@dataclass(frozen=True)
class Assembly:
    """A file of gcc's.

    lines   as they are
    blocks  the instructions of each straight piece of code
    starts  the line at which each begins
    """

    lines: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Assembly:
        """It, cut at labels and behind jumps."""
        lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
        blocks, starts = list[list[str]](), list[int]()
        begins, code = True, True
        for place, line in enumerate(lines):
            if line.startswith((".text", ".section")):
                code = ".text" in line
            if line.endswith(":"):
                begins = True
            elif code and line and line[0] not in ".#":
                if begins:
                    blocks.append([])
                    starts.append(place)
                blocks[-1].append(line)
                begins = line.startswith(("j", "ret", "notrack jmp"))
        return cls(tuple(lines), tuple(map(tuple, blocks)), tuple(starts))

    def scalar(self) -> str:
        """The code without vector instructions, which writes down the number of each block and all addresses."""
        numbers = {place: number for number, place in enumerate(self.starts)}
        found = [_RECORDER]
        for place, line in enumerate(self.lines):
            if place in numbers:
                found.append(_BLOCK.format(number=numbers[place]))
            operand = _MEMORY.search(line)
            if operand and not line.startswith(("lea", "nop")):
                found.append(_ADDRESS.format(operand=operand[0]))
            found.append(_scalar(line) if _VECTOR.search(line) else line)
        return "\n".join(found) + "\n"


_RECORDER = """
    .local at, into, blocks, addresses, kept, saved, held
    .comm at,8,8
    .comm into,8,8
    .comm blocks,8,8
    .comm addresses,8,8
    .comm kept,8,8
    .comm saved,8,8
    .comm held,512,16
    .text
    .globl record
record:
    mov %rdi, at(%rip)
    mov %rsi, into(%rip)
    mov %rdx, blocks(%rip)
    mov %rdx, addresses(%rip)
    ret
    .globl recorded
recorded:
    mov at(%rip), %rax
    mov %rax, (%rdi)
    mov into(%rip), %rax
    mov %rax, 8(%rdi)
    ret
"""
"""`void record(int *blocks, void **addresses, long most)`: where both are written, and how many of each at most;
`void recorded(void *ends[2])`: up to where. What writes them changes no flags."""
_BLOCK = """
    mov %rax, kept(%rip)
    mov %rcx, saved(%rip)
    mov blocks(%rip), %rcx
    jrcxz 1f
    lea -1(%rcx), %rcx
    mov %rcx, blocks(%rip)
    mov at(%rip), %rax
    movl ${number}, (%rax)
    lea 4(%rax), %rax
    mov %rax, at(%rip)
1:
    mov saved(%rip), %rcx
    mov kept(%rip), %rax
"""
_ADDRESS = """
    mov %rax, kept(%rip)
    lea {operand}, %rax
    mov %rcx, saved(%rip)
    mov addresses(%rip), %rcx
    jrcxz 1f
    lea -1(%rcx), %rcx
    mov %rcx, addresses(%rip)
    mov into(%rip), %rcx
    mov %rax, (%rcx)
    lea 8(%rcx), %rcx
    mov %rcx, into(%rip)
1:
    mov saved(%rip), %rcx
    mov kept(%rip), %rax
"""


def _scalar(line: str) -> str:
    """What is left of a vector instruction: nothing, unless it keeps scalars in a vector register for a while."""
    if _TO_SCALARS.match(line):
        raise ValueError(f"what comes next may depend on a vector: {line}")
    name, _, operands = line.partition(" ")
    source, _, target = operands.rpartition(", ")
    if not _HELD.match(name) or re.search(r"%[yz]mm|%k\d", operands) or source.startswith("."):
        return ""
    size = {"vmovd": 4, "vmovq": 8}.get(name, 16)
    here, there = (
        re.sub(r"^%xmm(\d+)$", lambda found: f"held+{16 * int(found[1])}(%rip)", each) for each in (source, target)
    )
    moves = list(_moves(here, there, min(size, 8)))
    if size == 16:
        moves += _moves(_behind(here), _behind(there), 8)
    if target.startswith("%xmm"):
        moves += [f"movl $0, {_behind(there, at)}" for at in range(size, 16, 4)]
    return "\n".join(f"    {move}" for move in moves)


def _moves(source: str, target: str, size: int) -> Iterator[str]:
    """A move of 4 or 8 bytes; from memory to memory by a register that neither needs."""
    if source.startswith("%") or target.startswith("%"):
        yield f"mov {source}, {target}"
        return
    free = next(each for each in "abcd" if f"{each}x" not in source + target)
    narrow = f"%e{free}x" if size == 4 else f"%r{free}x"
    yield from (f"mov %r{free}x, kept(%rip)", f"mov {source}, {narrow}")
    yield from (f"mov {narrow}, {target}", f"mov kept(%rip), %r{free}x")


def _behind(operand: str, by: int = 8) -> str:
    """The memory so many bytes behind."""
    return f"{by}{operand}" if operand.startswith("(") else f"{by}+{operand}"


@dataclass(frozen=True)
class Trace:
    """What a kernel executes.

    blocks     the instructions of each block
    order      int32, the blocks that run, in order
    addresses  uint64, of what is read and written outside the stack, in order
    """

    blocks: tuple[tuple[str, ...], ...]
    order: np.ndarray
    addresses: np.ndarray

    @cached_property
    def ends(self) -> np.ndarray:
        """Instructions executed up to the end of each block that runs."""
        return np.cumsum(np.asarray([len(block) for block in self.blocks])[self.order])

    @property
    def instructions(self) -> int:
        """All of them."""
        return int(self.ends[-1])

    def count(self, name: str) -> int:
        """How many instructions whose name begins like this are executed."""
        each = np.asarray([sum(line.startswith(name) for line in block) for block in self.blocks])
        return int(each[self.order].sum())

    def windows(self) -> list[list[str]]:
        """Instructions that follow each other: all of them, or of a long trace some, evenly spaced."""
        if self.instructions <= WINDOW * WINDOWS:
            return [self._from(0, len(self.order))]
        firsts = np.searchsorted(self.ends, np.linspace(0, self.instructions - WINDOW, WINDOWS))
        return [self._from(int(first), int(np.searchsorted(self.ends, self.ends[first] + WINDOW))) for first in firsts]

    def _from(self, first: int, end: int) -> list[str]:
        return [line for block in self.order[first:end] for line in self.blocks[block]]


def trace(case: Case, cpu: X86Cpu, most: int = MOST) -> Trace:
    """What a kernel executes on random inputs, for a processor that need not be here.

    most  blocks and addresses that there is room for; ValueError for a kernel that has more
    """
    kernel, g = case.kernel, case.kernel.geometry
    with TemporaryDirectory() as folder:
        place = Path(folder)
        assembly = Assembly.of(compiled(source(case, cpu.lanes), cpu, place))
        (place / "scalar.s").write_text(assembly.scalar())
        subprocess.run(["cc", "-shared", "scalar.s", "-o", "scalar.so"], cwd=folder, check=True)
        code = ctypes.CDLL(str(place / "scalar.so"))
    packed = case.packed.reshape(-1).view(np.uint8)
    shapes = (g.n * g.ih * g.iw * g.ic, g.points * g.oc, g.oc + cpu.lanes)
    x, y, bias = (aligned(np.zeros(size, np.float32)) for size in shapes)
    scratch, weights = aligned(np.zeros(kernel.scratch + 1, np.uint8)), aligned(packed)
    order, addresses = np.empty(most, np.int32), np.empty(most, np.uint64)
    code.record(*(ctypes.c_void_p(each.ctypes.data) for each in (order, addresses)), ctypes.c_long(most))
    given = (ctypes.c_void_p * 4)(*(each.ctypes.data for each in (x, weights, y, bias)))
    code.kernel(given, ctypes.c_void_p(scratch.ctypes.data), ctypes.c_long(0), ctypes.c_long(kernel.items))
    ends = (ctypes.c_void_p * 2)()
    code.recorded(ends)
    blocks, reads = ((ends[0] or 0) - order.ctypes.data) // 4, ((ends[1] or 0) - addresses.ctypes.data) // 8
    if max(blocks, reads) == most:
        raise ValueError(
            f"a kernel runs {most:,} blocks, or reads and writes as often, or more: give it a smaller layer"
        )
    return Trace(assembly.blocks, order[:blocks].copy(), addresses[:reads].copy())
