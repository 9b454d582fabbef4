"""What micro-kernels have in common: a function around loops that move along the inputs, and a count of it all.

    void NAME(float *out, const float *x, const float *w, const float *operand…)        r0, r1, r2, r3, stack

Loops whose terms are few are written out; others count down in a register. How a run of terms is computed is the
business of each instruction set, and so is what becomes of the sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

from pruneir.backends.cortex_m.assembly.finish import Operation
from pruneir.backends.cortex_m.assembly.nest import Nest, Step, TooLarge, Written

MOST = 48
"""Terms that are written out at most."""
Loop = tuple[int, int]
Moved = tuple[int, ...]
"""How far out, x, w and each operand have moved, in elements."""


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
        self.around = 0
        self.turns: list[int] = []
        self.done = nest.stored
        self.moved: list[int] = []
        """How far out, x, w and each operand have moved in a tile; `start` and `finish` count for out and operands."""
        self.unroll = 1
        """Terms of the innermost loop that are written out at once."""

    @abstractmethod
    def plan(self) -> None:
        """Decide which registers hold what, and `unroll`."""

    @abstractmethod
    def enter(self) -> None:
        """Save registers, fetch operands."""

    @abstractmethod
    def start(self) -> None:
        """Set the sums of a tile to zero, to their biases, or to what an operand holds."""

    @abstractmethod
    def block(self, count: int, stride: int) -> None:
        """Some terms; x is moved past them if `moves`."""

    @abstractmethod
    def finish(self) -> None:
        """Store what becomes of the sums."""

    @abstractmethod
    def leave(self) -> None:
        """Restore registers, return."""

    @abstractmethod
    def tiles(self, depth: int, length: int, body: Callable[[], None]) -> None:
        """A loop over tiles."""

    @abstractmethod
    def move(self, pointer: int, elements: int) -> None:
        """Move out, x, w or an operand, by its place among these."""

    def gathers(self, count: int, stride: int) -> bool:
        """Whether a block moves x from term to term even where it is written out whole."""
        return False

    def written(self) -> Written:
        """The micro-kernel."""
        self.plan()
        self.enter()
        self.around = self.count
        self._tiles(self.nest.steps, 0)
        self.around -= self.count
        self.leave()
        self.around += self.count
        head = [f"    .global {self.name}", f"    .type {self.name}, %function", "    .thumb_func", f"{self.name}:"]
        text = "\n".join([*head, *self.lines, f"    .size {self.name}, .-{self.name}", ""])
        return Written(text, self.count, self.around, tuple(self.turns))

    def _tiles(self, steps: Sequence[Step], depth: int) -> Moved:
        """The tiles of some loops; how far the pointers have moved behind them."""
        if not steps:
            return self.tile()
        step, *rest = steps

        def body() -> None:
            moved = self._tiles(rest, depth + 1)
            for pointer, (whole, done) in enumerate(zip(step.moves, moved, strict=True)):
                self.move(pointer, whole - done)

        self.tiles(depth, step.length, body)
        return tuple(step.length * each for each in step.moves)

    def tile(self) -> Moved:
        """One tile; how far the pointers have moved behind it."""
        self.moved = [0] * (3 + len(self.done.operands))
        self.start()
        if self.nest.reduction:
            self._loops(self.nest.reduction[:-1], 0)
            self.moved[1] = self._moved(self.nest.reduction[:-1])
            self.moved[2] = self.nest.terms * self.nest.filters * self.nest.weighted
        self.finish()
        return tuple(self.moved)

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
            self.counted(self.counters[depth], length, once)
            return
        for _ in range(length):
            once()

    def _innermost(self) -> None:
        """Whole blocks, counted, then the rest."""
        length, stride = self.nest.reduction[-1]
        blocks, rest = divmod(length, self.unroll)
        if blocks > 1:
            self.counted(self.counters[-1], blocks, lambda: self.block(self.unroll, stride))
        else:
            self.block(self.unroll, stride)
        if rest:
            self.block(rest, stride)

    def counted(self, register: str, length: int, body: Callable[[], None]) -> None:
        """A loop that counts down in a register."""
        self.set(register, length)

        def once() -> None:
            body()
            self.op(f"subs {register}, {register}, #1")

        self.repeated(length, once)

    def repeated(self, length: int, body: Callable[[], object]) -> None:
        """A loop that runs so often, its body ending with what sets the flags."""
        self.labels += 1
        label = self.labels
        self.lines.append(f"{label}:")
        self.times *= length
        body()
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


def placed(
    operations: Sequence[Operation], own: int, spare: Sequence[int], loaded: Mapping[int, int]
) -> Iterator[tuple[Operation, int, list[int]]]:
    """Each operation with the register that it writes and those that it reads; the sum's own is the first and the last.

    spare   registers for what lies between; TooLarge where they are too few
    loaded  registers of operands that are loaded already
    """
    last = {read: step for step, operation in enumerate(operations) for read in operation.inputs}
    held, free, kept = {-1: own}, list(spare), {*loaded.values()}
    for step, operation in enumerate(operations):
        if operation.name == "load" and operation.number in loaded:
            held[step] = loaded[int(operation.number)]
            continue
        sources = [held[read] for read in operation.inputs]
        free = [held[read] for read in {*operation.inputs} if last[read] == step and held[read] not in kept] + free
        if step == len(operations) - 1:
            held[step] = own
        elif free:
            held[step] = free.pop(0)
        else:
            raise TooLarge("what is stored needs more registers")
        yield operation, held[step], sources
