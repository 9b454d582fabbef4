"""Micro-kernels that skip inputs that are zero, on the scalar FPU and on vectors of filters.

ldr r3, [x], #4; lsls r4, r3, #1; beq next      an input, zero of either sign?
uxtah r9, sums, distance                        of each group
vldmia r9, {sums}; vldmia r6!, {weights}
vfma.f32 sum, input, weight                     as many as are in the group
vstmia r9, {sums}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

from pruneir.backends.cortex_m.assembly.nest import TooLarge
from pruneir.backends.cortex_m.assembly.scalars import AT_ONCE, REGISTERS, listed
from pruneir.backends.cortex_m.assembly.scatter import SHIFTS, Loop, Scatter, Scattered

_COUNTERS = ("r10", "r11", "r12", "lr")
_AHEAD = 4096
"""Bytes that one addition does not add any more."""


def write(name: str, scatter: Scatter) -> Scattered:
    """The micro-kernel. TooLarge where its registers do not fit."""
    return (_Scalar if scatter.lanes == 1 else _Vectors)(name, scatter.merged()).written()


class _Writer(ABC):
    saves = False
    """Whether it uses registers of the FPU that its caller relies on."""

    def __init__(self, name: str, scatter: Scatter):
        self.name, self.scatter = name, scatter
        self.lines: list[str] = []
        self.counts: Counter[str] = Counter()
        self.part, self.times, self.labels = "all", 1, 0

    def written(self) -> Scattered:
        """The micro-kernel."""
        self.op("push {r4-r11, lr}")
        if self.saves:
            self.op("vpush {s16-s31}")
        self.op("ldr r3, [r2, r3, lsl #2]")
        self.op("add r2, r2, r3")
        self._clear()
        self._loops(self.scatter.loops)
        if self.saves:
            self.op("vpop {s16-s31}")
        self.op("pop {r4-r11, pc}")
        head = [f"    .global {self.name}", f"    .type {self.name}, %function", "    .thumb_func", f"{self.name}:"]
        text = "\n".join([*head, *self.lines, f"    .size {self.name}, .-{self.name}", ""])
        return Scattered(text, self.counts["all"], self.counts["hit"], self.counts["turn"])

    def op(self, text: str) -> None:
        """One instruction, executed as often as the loops around it run."""
        self.lines.append(f"    {text}")
        self.counts[self.part] += self.times

    def begin(self) -> None:  # noqa: B027 - most need nothing
        """Prepare an input in r3 for multiplications."""

    @abstractmethod
    def group(self, number: int) -> None:
        """The products of one group of a turn, and its sums, which lie at r9."""

    def _clear(self) -> None:
        whole, rest = divmod(self.scatter.room, AT_ONCE)
        self.op("movs r3, #0")
        for pair in range(-(-min(self.scatter.room, AT_ONCE) // 2)):
            self.op(f"vmov d{pair}, r3, r3")
        self.op("mov r9, r0")
        if whole:
            self._counted("r10", whole, lambda: self.op(f"vstmia r9!, {listed(0, AT_ONCE)}"))
        if rest:
            self.op(f"vstmia r9, {listed(0, rest)}")

    def _loops(self, loops: Sequence[Loop]) -> None:
        """Some loops, each of which goes on from where the one in it came to."""
        if not loops:
            self._input()
            return
        loop, *inner = loops
        done = inner[0].whole if inner else (0, 0)

        def body() -> None:
            self._loops(inner)
            self._add("r0", 4 * (loop.sums - done[0]))
            self._add("r2", 4 * (loop.columns - done[1]))

        if len(inner) < len(_COUNTERS):
            self._counted(_COUNTERS[len(inner)], loop.length, body)
        else:
            self._counted_on_stack(loop.length, body)

    def _input(self) -> None:
        self.op("ldr r3, [r1], #4")
        self.op("lsls r4, r3, #1")
        zero = self._label()
        self.op(f"beq {zero}f")
        self.part, times, self.times = "hit", self.times, 1
        self._column(zero)
        self.part, self.times = "all", times
        self.lines.append(f"{zero}:")

    def _column(self, behind: int) -> None:
        """r4 is at distances, r5 counts turns, r6 is at weights. Where a column may have none, the next input is at the
        label `behind`.
        """
        unroll = self.scatter.unroll
        self.op("ldr r4, [r2]")
        self.op("add r4, r4, r2")
        self.op("ldr r5, [r4], #4")
        self.begin()
        self.op(f"add r6, r4, r5, lsl #{SHIFTS[unroll]}")
        if self.scatter.gaps:
            self.op("cmp r5, #0")
            self.op(f"beq {behind}f")
        turn = self._label()
        self.lines.append(f"{turn}:")
        self.part = "turn"
        for number in range(unroll):
            if number % 4 == 0:
                self.op("ldm r4!, {r7, r8}" if unroll > 2 else "ldr r7, [r4], #4")
            self.op(f"{_address(number, unroll)}")
            self.group(number)
        self.op("subs r5, r5, #1")
        self.op(f"bne {turn}b")

    def _counted(self, register: str, length: int, body: Callable[[], None]) -> None:
        """A loop that counts down in a register."""
        self._set(register, length)
        label = self._label()
        self.lines.append(f"{label}:")
        self.times *= length
        body()
        self.op(f"subs {register}, {register}, #1")
        self.op(f"bne {label}b")
        self.times //= length

    def _counted_on_stack(self, length: int, body: Callable[[], None]) -> None:
        """A loop that has no register to count in."""
        self._set("r3", length)
        self.op("push {r3}")
        label = self._label()
        self.lines.append(f"{label}:")
        self.times *= length
        body()
        self.op("ldr r3, [sp]")
        self.op("subs r3, r3, #1")
        self.op("str r3, [sp]")
        self.op(f"bne {label}b")
        self.times //= length
        self.op("add sp, #4")

    def _label(self) -> int:
        self.labels += 1
        return self.labels

    def _add(self, register: str, amount: int) -> None:
        word = "add" if amount > 0 else "sub"
        if abs(amount) >= _AHEAD:
            self._set("r3", abs(amount))
            self.op(f"{word} {register}, {register}, r3")
        elif amount:
            self.op(f"{word}w {register}, {register}, #{abs(amount)}")

    def _set(self, register: str, value: int) -> None:
        self.op(f"movw {register}, #{value & 0xFFFF}")
        if value >> 16:
            self.op(f"movt {register}, #{value >> 16}")


class _Scalar(_Writer):
    """The input is in s0, sums are behind it, and behind them weights: of some groups, or of a part of one."""

    def __init__(self, name: str, scatter: Scatter):
        super().__init__(name, scatter)
        width, left = scatter.width, min(REGISTERS - 1 - scatter.width, AT_ONCE)
        if width > AT_ONCE:
            raise TooLarge(f"{width} sums at once")
        self.groups = min(left // width, scatter.unroll)
        self.batch = self.groups * width or -(-width // -(-width // left))
        self.saves = 1 + width + self.batch > AT_ONCE

    def begin(self) -> None:
        self.op("vmov s0, r3")

    def group(self, number: int) -> None:
        width = self.scatter.width
        self.op(f"vldmia r9, {listed(1, width)}")
        for index in range(width):
            place = (number * width + index) % self.batch if self.groups else index % self.batch
            if place == 0:
                left = (self.scatter.unroll - number) * width if self.groups else width - index
                self.op(f"vldmia r6!, {listed(1 + width, min(self.batch, left))}")
            self.op(f"vfma.f32 s{1 + index}, s0, s{1 + width + place}")
        self.op(f"vstmia r9, {listed(1, width)}")


class _Vectors(_Writer):
    """Two vectors of sums and of weights in turn."""

    def group(self, number: int) -> None:
        for vector in range(self.scatter.width // self.scatter.lanes):
            sums, weights = 2 * (vector % 2), 2 * (vector % 2) + 1
            self.op(f"vldrw.u32 q{sums}, [r9, #{16 * vector}]")
            self.op(f"vldrw.u32 q{weights}, [r6], #16")
            self.op(f"vfma.f32 q{sums}, q{weights}, r3")
            self.op(f"vstrw.32 q{sums}, [r9, #{16 * vector}]")


def _address(number: int, unroll: int) -> str:
    """r9 at the sums of a group, by a distance of its own or by half of a word of them."""
    word = "r7" if number % 4 < 2 else "r8"
    if unroll == 1:
        return f"add r9, r0, {word}"
    return f"add r9, r0, {word}, lsr #16" if number % 2 else f"uxtah r9, r0, {word}"
