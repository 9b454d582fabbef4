"""What micro-kernels have in common: a function around loops that move along the inputs, and a count of it all.

    void NAME(float *acc, const float *x, const float *w)        r0, r1, r2

Loops whose terms are few are written out; others count down in a register. How a run of terms is computed is the
business of each instruction set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from pruneir.backends.cortex_m.assembly.nest import Nest, Written

MOST = 48
"""Terms that are written out at most."""
Loop = tuple[int, int]


class Writer(ABC):
    """Writes one micro-kernel. TooLarge where its registers do not fit.

    counters  registers of counted loops, outermost first, the innermost loop's last
    scratch   a register for large numbers
    """

    counters: tuple[str, ...]
    scratch: str

    def __init__(self, name: str, nest: Nest):
        self.name, self.nest = name, nest.merged()
        self.lines: list[str] = []
        self.count, self.times, self.labels = 0, 1, 0
        self.unroll = 1
        """Terms of the innermost loop that are written out at once."""

    @abstractmethod
    def plan(self) -> None:
        """Decide which registers hold what, and `unroll`."""

    @abstractmethod
    def enter(self) -> None:
        """Save registers, clear the sums."""

    @abstractmethod
    def block(self, count: int, stride: int) -> None:
        """Some terms; x is moved past them if `moves`."""

    @abstractmethod
    def leave(self) -> None:
        """Store the sums, restore registers, return."""

    def gathers(self, count: int, stride: int) -> bool:
        """Whether a block moves x from term to term even where it is written out whole."""
        return False

    def written(self) -> Written:
        """The micro-kernel."""
        self.plan()
        self.enter()
        self._loops(self.nest.reduction[:-1], 0)
        self.leave()
        head = [f"    .global {self.name}", f"    .type {self.name}, %function", "    .thumb_func", f"{self.name}:"]
        return Written("\n".join([*head, *self.lines, f"    .size {self.name}, .-{self.name}", ""]), self.count)

    @property
    def moves(self) -> bool:
        """Whether the innermost loop moves x, being longer than a block, or gathering."""
        length, stride = self.nest.reduction[-1]
        return self.unroll < length or self.gathers(self.unroll, stride)

    def op(self, text: str) -> None:
        """One instruction, executed as often as the loops around it run."""
        self.lines.append(f"    {text}")
        self.count += self.times

    def add(self, register: str, elements: int) -> None:
        """Move a pointer by so many floats."""
        amount = 4 * abs(elements)
        word = "add" if elements > 0 else "sub"
        if not amount:
            return
        if amount < 4096:
            self.op(f"{word}w {register}, {register}, #{amount}")
        else:
            self.set(self.scratch, amount)
            self.op(f"{word} {register}, {register}, {self.scratch}")

    def set(self, register: str, value: int) -> None:
        """Put a number into a register."""
        self.op(f"movw {register}, #{value & 0xFFFF}")
        if value >> 16:
            self.op(f"movt {register}, #{value >> 16}")

    def _loops(self, outer: Sequence[Loop], depth: int) -> None:
        """The outer loops, each moving x; then the innermost."""
        if not outer:
            self._innermost()
            return
        (length, stride), *rest = outer
        counted = length * self._terms(rest) > MOST and depth < len(self.counters) - 1

        def once() -> None:
            self._loops(rest, depth + counted)
            self.add("r1", stride - self._moved(rest))

        if counted:
            self._counted(self.counters[depth], length, once)
            return
        for _ in range(length):
            once()

    def _innermost(self) -> None:
        """Whole blocks, counted, then the rest."""
        length, stride = self.nest.reduction[-1]
        blocks, rest = divmod(length, self.unroll)
        if blocks > 1:
            self._counted(self.counters[-1], blocks, lambda: self.block(self.unroll, stride))
        else:
            self.block(self.unroll, stride)
        if rest:
            self.block(rest, stride)

    def _counted(self, register: str, length: int, body: Callable[[], None]) -> None:
        self.set(register, length)
        self.labels += 1
        label = self.labels
        self.lines.append(f"{label}:")
        self.times *= length
        body()
        self.op(f"subs {register}, {register}, #1")
        self.op(f"bne {label}b")
        self.times //= length

    def _moved(self, loops: Sequence[Loop]) -> int:
        """How far x has moved when these loops and the innermost are done."""
        if loops:
            return loops[0][0] * loops[0][1]
        length, stride = self.nest.reduction[-1]
        return length * stride if self.moves else 0

    def _terms(self, loops: Sequence[Loop]) -> int:
        terms = self.nest.reduction[-1][0]
        for length, _ in loops:
            terms *= length
        return terms
