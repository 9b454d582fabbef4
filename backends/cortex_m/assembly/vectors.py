"""What surrounds the multiply-adds of vectors: registers that are saved, loops over tiles, what becomes of sums.

Numbers are in core registers, addresses of operands on the stack, for both are few.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge
from pruneir.backends.cortex_m.assembly.writer import MOST, Writer, placed

LANES, VECTOR = 4, 7
"""Floats in a vector; the register that vectors are loaded to."""
NUMBERS = ("r3", "r4", "r5", "r6", "r7", "r8")
FARTHEST = 508
"""Bytes that a vector load reaches."""


class Vectors(Writer):
    """The stack holds counters of tiles, d8 to d15, the first operand, core registers, the other operands."""

    counters = ("r9", "r10", "r11", "r12")
    scratch = "lr"

    def __init__(self, name: str, nest: Nest):
        super().__init__(name, nest)
        self.room = 16 * bool(nest.steps)

    def enter(self) -> None:
        """Save registers; room for counters."""
        self.op("push {r3-r11, lr}")
        self.op("vpush {d8-d15}")
        if self.room:
            self.op(f"sub sp, #{self.room}")

    def leave(self) -> None:
        """Restore registers, return."""
        if self.room:
            self.op(f"add sp, #{self.room}")
        self.op("vpop {d8-d15}")
        self.op("pop {r3-r11, pc}")

    def tiles(self, depth: int, length: int, body: Callable[[], None]) -> None:
        """A loop that counts down on the stack."""
        at = f"r9, [sp, #{4 * depth}]"
        self.set("r9", length)
        self.op(f"str {at}")

        def once() -> None:
            body()
            self.op(f"ldr {at}")
            self.op("subs r9, r9, #1")
            self.op(f"str {at}")

        self.repeated(length, once)

    def move(self, pointer: int, elements: int) -> None:
        """Out, x and w are in registers, operands on the stack."""
        if pointer < 3:
            self.add(f"r{pointer}", elements)
        elif elements:
            self.op(f"ldr r9, {self.slot(pointer - 3)}")
            self.add("r9", elements)
            self.op(f"str r9, {self.slot(pointer - 3)}")

    def slot(self, operand: int) -> str:
        """Where the address of an operand lies."""
        return f"[sp, #{self.room + 64 + (36 + 4 * operand if operand else 0)}]"

    def fit(self, sums: int, numbers: int, *, kept: bool = False) -> None:
        """TooLarge unless there are registers for so many sums, numbers to multiply by, and what is stored.

        kept  whether one is kept for distances
        """
        if sums > VECTOR - kept or max(numbers, len(self.done.numbers)) > len(NUMBERS):
            raise TooLarge(f"{self.nest.filters} × {self.nest.points} sums of {self.nest.terms} terms")
        self.sums = sums
        self.spare = [*range(sums, VECTOR - kept), VECTOR]

    def unrolled(self, reach: int) -> int:
        """Terms of the innermost loop whose inputs a load reaches without moving x."""
        length, stride = self.nest.reduction[-1]
        most = (FARTHEST // 4 - reach) // max(abs(stride), 1) + 1
        if stride < 0 or most < 1:
            raise TooLarge("the terms' inputs are too far apart")
        return length if length <= min(most, MOST) else max(1, min(most, 8))

    def zeros(self) -> None:
        """Clear the sums."""
        for index in range(self.sums):
            self.op(f"vmov.i32 q{index}, #0")

    def offsets(self, register: int, apart: int) -> None:
        """Distances in bytes of elements that are so far apart, into a vector."""
        self.op("movs r4, #0")
        self.op(f"vidup.u32 q{register}, r4, #1")
        self.set("r5", 4 * apart)
        self.op(f"vmul.i32 q{register}, q{register}, r5")

    def prepared(self) -> None:
        """Numbers into core registers, a zero into a vector, addresses of operands into r9, r10, r11."""
        self.numbers = dict(zip(self.done.numbers, NUMBERS, strict=False))
        for number, register in self.numbers.items():
            self.set(register, int(np.float32(number).view(np.uint32)))
        if any(operation.name == "relu" for operation in self.done.operations):
            self.zero = self.taken()
            self.op(f"vmov.i32 q{self.zero}, #0")
        for k in sorted({int(each.number) for each in self.done.operations if each.name == "load"}):
            self.op(f"ldr r{9 + k}, {self.slot(k)}")

    def taken(self) -> int:
        """A register for the whole of what is stored."""
        if not self.spare:
            raise TooLarge("what is stored needs more registers")
        return self.spare.pop()

    def computed(self, own: int, load: Callable[[int, int], None]) -> None:
        """What becomes of a vector of sums; `load` an operand into a register."""
        for step, to, read in placed(self.done.operations, own, self.spare, {}):
            if step.name == "load":
                load(int(step.number), to)
            elif step.name in ("add", "sub", "mul"):
                self.op(f"v{step.name}.f32 q{to}, q{read[0]}, q{read[1]}")
            elif step.name in ("scale", "offset"):
                word = "mul" if step.name == "scale" else "add"
                self.op(f"v{word}.f32 q{to}, q{read[0]}, {self.numbers[step.number]}")
            elif step.name == "unit":
                self.op(f"vcvt.u32.f32 q{to}, q{read[0]}, #32")
                self.op(f"vcvt.f32.u32 q{to}, q{to}, #32")
            else:
                self.op(f"vmaxnm.f32 q{to}, q{read[0]}, q{self.zero}")
