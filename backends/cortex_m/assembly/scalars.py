"""What surrounds the multiply-adds of a scalar FPU: where sums start, and what becomes of them.

Sums start as zeros, as biases, or as what an operand holds, two registers an instruction. What is stored is computed in
their registers, with numbers, operands and what lies between in those behind them. Where there is no instruction for
the larger of two numbers, what is negative becomes zero in core registers, on the way to memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import frexp

import numpy as np

from pruneir.backends.cortex_m.assembly.finish import Finish, Operand, Operation
from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge
from pruneir.backends.cortex_m.assembly.writer import Writer, placed

REGISTERS = 32
AT_ONCE = 16
"""Registers that one `vldm` or `vstm` takes at most."""
_NUMBERS = ("r4", "r5", "r6", "r7")
"""Core registers for what is set, or stored, by way of them."""


class Scalars(Writer):
    """A micro-kernel whose sums are in s0 and those that follow.

    sums   how many there are
    saves  whether it uses registers that its caller relies on
    """

    sums: int
    saves: bool
    counters = ("r4", "r5", "r6", "r7")
    scratch = "r8"
    pointers = ("r0", "r1", "r2", "r3", "r9", "r10")
    outer: tuple[str, ...] = ("r11", "r12", "lr")

    def __init__(self, name: str, nest: Nest, *, extremes: bool):
        super().__init__(name, nest)
        self.extremes = extremes

    def plan_finish(self) -> None:
        """Registers for what becomes of the sums: numbers, operands, what lies between."""
        names = [operation.name for operation in self.done.operations]
        self.integers = not self.extremes and names[-1:] == ["relu"]
        self.steps = self.done.operations[:-1] if self.integers else self.done.operations
        numbers = self.done.numbers
        rectified = any(operation.name == "relu" for operation in self.steps)
        if rectified:
            numbers = (*numbers, 0.0 if self.extremes else 0.5)
        free = iter(range(self.sums, REGISTERS))
        self.beside = next(free, REGISTERS) if rectified and not self.extremes else self.sums
        self.numbers = {number: next(free, REGISTERS) for number in numbers}
        read = {int(step.number) for step in self.steps if step.name == "load"}
        self.by_filter = {k: next(free, REGISTERS) for k in sorted(read) if not self.done.operands[k].points}
        self.by_sum = sorted(read - self.by_filter.keys())
        between = len([step for step in self.steps if step.name != "load"])
        self.spare = [next(free, REGISTERS) for _ in range(min(between, 3))]
        left = [*free]
        self.chunk = min(self.nest.points, len(left) // len(self.by_sum)) if self.by_sum else self.nest.points
        taken = [*self.numbers.values(), *self.by_filter.values(), *self.spare, self.beside if rectified else 0]
        if not self.chunk or REGISTERS in taken:
            raise TooLarge("what is stored needs more registers")
        self.first = left[0] if left else REGISTERS
        self.top = max(self.sums, 1 + max(taken), (self.first + self.chunk * len(self.by_sum)) * bool(self.by_sum))

    def enter(self) -> None:
        """Save registers, fetch the addresses of operands."""
        self.op("push {r4-r11, lr}")
        if self.saves:
            self.op("vpush {s16-s31}")
        for place, register in enumerate(self.pointers[4 : 3 + len(self.done.operands)]):
            self.op(f"ldr {register}, [sp, #{36 + 64 * self.saves + 4 * place}]")

    def leave(self) -> None:
        """Restore registers, return."""
        if self.saves:
            self.op("vpop {s16-s31}")
        self.op("pop {r4-r11, pc}")

    def tiles(self, depth: int, length: int, body: Callable[[], None]) -> None:
        """A loop that counts down in a register."""
        self.counted(self.outer[depth], length, body)

    def move(self, pointer: int, elements: int) -> None:
        """All pointers are in registers."""
        self.add(self.pointers[pointer], elements)

    def start(self) -> None:
        """Zeros, biases, or what an operand holds."""
        if self.done.bias is None:
            self.op("movs r4, #0")
            self._fill(0, ["r4"] * self.sums)
            return
        operand = self.done.operands[self.done.bias]
        at, apart, points = self.pointers[3 + self.done.bias], operand.filters, self.nest.points
        if operand.points:
            self._loaded(3 + self.done.bias, operand)
            return
        if points == 1 and apart == 1:
            for start in range(0, self.sums, AT_ONCE):
                if start:
                    self.op(f"addw r8, {at}, #{4 * start}")
                self.op(f"vldmia {'r8' if start else at}, {listed(start, min(AT_ONCE, self.sums - start))}")
            return
        for start in range(0, self.nest.filters, len(_NUMBERS)):
            numbers = _NUMBERS[: self.nest.filters - start]
            for place, number in enumerate(numbers):
                self.op(f"ldr {number}, [{at}, #{4 * (start + place) * apart}]")
            self._fill(start * points, [number for number in numbers for _ in range(points)])

    def _loaded(self, pointer: int, operand: Operand) -> None:
        """What an operand holds, for sums."""
        if operand.points != 1 and self.nest.points > 1:
            raise TooLarge("an operand whose points are apart")
        whole = operand.filters == self.nest.points or self.nest.filters == 1
        row = self.sums if whole else self.nest.points
        for first in range(0, self.sums, row):
            for start in range(first, first + row, AT_ONCE):
                self.op(f"vldmia {self.pointers[pointer]}!, {listed(start, min(AT_ONCE, first + row - start))}")
            self.moved[pointer] += row
            if not whole:
                self._next(pointer, first // row, operand)

    def _fill(self, first: int, numbers: Sequence[str]) -> None:
        """Numbers into registers that follow each other, the first even."""
        for index in range(0, len(numbers) - 1, 2):
            self.op(f"vmov d{(first + index) // 2}, {numbers[index]}, {numbers[index + 1]}")
        if len(numbers) % 2:
            self.op(f"vmov s{first + len(numbers) - 1}, {numbers[-1]}")

    def finish(self) -> None:
        """Row by row: a row is what one filter has."""
        points = self.nest.points
        for number, register in self.numbers.items():
            self._number(register, number)
        for index in range(self.nest.filters):
            for k, register in self.by_filter.items():
                self.op(f"vldr s{register}, [{self.pointers[3 + k]}, #{4 * index * self.done.operands[k].filters}]")
            for start in range(0, points, self.chunk):
                self._computed(index * points + start, min(self.chunk, points - start))
            for k in self.by_sum:
                self.moved[3 + k] += points
                self._next(3 + k, index, self.done.operands[k])
        self._stored()

    def _next(self, pointer: int, index: int, strides: Operand | Finish) -> None:
        """Move from the end of a row to the next."""
        apart = strides.filters - self.nest.points if index < self.nest.filters - 1 else 0
        self.move(pointer, apart)
        self.moved[pointer] += apart

    def _computed(self, first: int, count: int) -> None:
        """What becomes of some sums of a row, in their registers."""
        for place, k in enumerate(self.by_sum):
            if self.done.operands[k].points != 1 and self.nest.points > 1:
                raise TooLarge("an operand whose points are apart")
            for start in range(0, count, AT_ONCE):
                registers = listed(self.first + place * self.chunk + start, min(AT_ONCE, count - start))
                self.op(f"vldmia {self.pointers[3 + k]}!, {registers}")
        for point in range(count):
            loaded = {k: self.first + place * self.chunk + point for place, k in enumerate(self.by_sum)}
            for step, to, read in placed(self.steps, first + point, self.spare, loaded | self.by_filter):
                self._operation(step, to, read)

    def _operation(self, step: Operation, to: int, read: Sequence[int]) -> None:
        if step.name in ("add", "sub", "mul"):
            self.op(f"v{step.name}.f32 s{to}, s{read[0]}, s{read[1]}")
        elif step.name in ("scale", "offset"):
            word = "mul" if step.name == "scale" else "add"
            self.op(f"v{word}.f32 s{to}, s{read[0]}, s{self.numbers[step.number]}")
        elif step.name == "unit":
            if to != read[0]:
                self.op(f"vmov.f32 s{to}, s{read[0]}")
            self.op(f"vcvt.u32.f32 s{to}, s{to}, #32")
            self.op(f"vcvt.f32.u32 s{to}, s{to}, #32")
        elif step.name == "relu" and self.extremes:
            self.op(f"vmaxnm.f32 s{to}, s{read[0]}, s{self.numbers[0.0]}")
        elif step.name == "relu":  # (x + |x|) / 2
            self.op(f"vabs.f32 s{self.beside}, s{read[0]}")
            self.op(f"vadd.f32 s{to}, s{read[0]}, s{self.beside}")
            self.op(f"vmul.f32 s{to}, s{to}, s{self.numbers[0.5]}")
        else:
            raise TooLarge(f"{step.name} of what is loaded")

    def _number(self, register: int, number: float) -> None:
        """A number into a register, by way of a core register unless it is one of those that an instruction holds."""
        bits = int(np.float32(number).view(np.uint32))
        mantissa, exponent = number and frexp(abs(number))[0] * 32, frexp(number)[1]
        if number and mantissa == int(mantissa) and -2 <= exponent <= 5:
            self.op(f"vmov.f32 s{register}, #{number:g}")
            return
        self.set("r4", bits)
        self.op(f"vmov s{register}, r4")

    def _stored(self) -> None:
        """Store what is computed, row by row."""
        points, filters = self.nest.points, self.nest.filters
        if points > 1 and self.done.points != 1:
            raise TooLarge("points are stored apart")
        whole = filters == 1 or self.done.filters == points
        row = self.sums if whole else points
        for first in range(0, self.sums, row):
            self._store(first, row)
            self.moved[0] += row
            if not whole:
                self._next(0, first // row, self.done)

    def _store(self, first: int, count: int) -> None:
        """Registers that follow each other, with zeros for what is negative if core registers do that."""
        if not self.integers:
            for start in range(first, first + count, AT_ONCE):
                self.op(f"vstmia r0!, {listed(start, min(AT_ONCE, first + count - start))}")
            return
        for start in range(first, first + count, len(_NUMBERS)):
            numbers = _NUMBERS[: first + count - start]
            for index in range(0, len(numbers) - 1, 2):
                at = start + index
                self.op(f"vmov {numbers[index]}, {numbers[index + 1]}, s{at}, s{at + 1}")
            if len(numbers) % 2:
                self.op(f"vmov {numbers[-1]}, s{start + len(numbers) - 1}")
            for number in numbers:
                self.op(f"bic {number}, {number}, {number}, asr #31")
            self.op(f"stmia r0!, {{{', '.join(numbers)}}}" if len(numbers) > 1 else f"str {numbers[0]}, [r0], #4")


def listed(first: int, count: int) -> str:
    """Registers that follow each other."""
    return f"{{s{first}}}" if count == 1 else f"{{s{first}-s{first + count - 1}}}"
