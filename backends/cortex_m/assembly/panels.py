"""Panels of weights without their zeros: for each, the sums start, a loop goes through its groups, the sums are stored.

    for tiles: for panels: sums ← biases; for groups: sums += weights · x[distance]; out ← finish(sums)

A tile is all panels, each `width` filters but the last, which has the filters that are left. What the stream holds says
how often a loop over groups turns; at least once. Where it lies:

    bytes from behind this word to the distances, weights of all groups, for each panel: turns, distances

Distances of 2 bytes are fetched in pairs, and each is one addition, be it the lower or the upper half of a word.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from pruneir.backends.cortex_m.assembly.nest import Nest, Stream, TooLarge
from pruneir.backends.cortex_m.assembly.writer import Moved, Writer


class PanelWriter(Writer):
    """A micro-kernel whose weights are a stream. It counts what it executes when no loop over groups turns.

    layer      all filters; `nest` is a panel of it
    parts      how many panels there are of how many filters
    counter    register of the turns that are left
    distances  register that says where distances are read
    words      registers for what is read there; of pairs, the last holds an address
    """

    layer: Nest
    stream: Stream
    parts: list[tuple[int, int]]
    counter: str
    distances: str
    words: tuple[str, ...]
    count: int
    times: int
    turns: list[int]

    def divide(self) -> None:
        """From the filters of a layer to those of a panel; TooLarge unless each panel has registers."""
        assert self.nest.stream is not None
        self.layer, self.stream = self.nest, self.nest.stream
        whole, rest = divmod(self.layer.filters, self.stream.width)
        self.parts = [(count, width) for count, width in ((whole, self.stream.width), (1, rest)) if count and width]
        for _, width in reversed(self.parts):
            self.of(width)

    def of(self, filters: int) -> None:
        """Plan a panel of so many filters."""
        self.nest = replace(self.layer, filters=filters)
        self.plan()

    @abstractmethod
    def rewind(self) -> None:
        """Let w point to the stream's first word again."""

    @abstractmethod
    def group(self, number: int, address: str) -> None:
        """The products of one group of a turn, whose first input lies there."""

    def block(self, count: int, stride: int) -> None:
        """Never asked for."""
        raise TooLarge("which terms there are says the stream")

    def tile(self) -> Moved:
        """All panels."""
        self.turns = []
        self.rewind()
        self.op(f"ldr {self.distances}, [r2], #4")
        self.op(f"add {self.distances}, {self.distances}, r2")
        moved = [self._panels(count, width) for count, width in self.parts]
        return tuple(sum(each) for each in zip(*moved, strict=True))

    def _panels(self, count: int, width: int) -> Moved:
        self.of(width)
        moves = (width * self.done.filters, 0, 0, *(width * operand.filters for operand in self.done.operands))
        tiles = self.times

        def panel() -> None:
            self.moved = [0] * len(moves)
            self.start()
            self._read(self.counter)
            self.turns.append(self._turn(tiles))
            self.finish()
            for pointer, (whole, done) in enumerate(zip(moves, self.moved, strict=True)):
                self.move(pointer, whole - done)

        if count > 1:
            self.tiles(len(self.layer.steps), count, panel)
        else:
            panel()
        return tuple(count * each for each in moves)

    def _turn(self, tiles: int) -> int:
        """Write the loop over groups; the instructions of a turn in one panel of all tiles, which are not counted."""
        before, times = self.count, self.times
        self.times = tiles
        at_once = len(self.words) if self.stream.wide else 2 * len(self.words) - 2

        def body() -> None:
            for first in range(0, self.stream.unroll, at_once):
                self._fetched(first, min(at_once, self.stream.unroll - first))
            self.op(f"subs {self.counter}, {self.counter}, #1")

        self.repeated(1, body)
        turn, self.count, self.times = self.count - before, before, times
        return turn

    def _fetched(self, first: int, count: int) -> None:
        """Some groups of a turn, and their distances before them."""
        words = self.words[: count if self.stream.wide else -(-count // 2)]
        self._read(*words)
        for number in range(count):
            if self.stream.wide or self.stream.unroll == 1:
                address = words[number]
                self.op(f"add {address}, r1, {address}")
            elif number % 2 == 0:
                address = self.words[-1]
                self.op(f"uxtah {address}, r1, {words[number // 2]}")
            else:
                address = words[number // 2]
                self.op(f"add {address}, r1, {address}, lsr #16")
            self.group(first + number, address)

    def _read(self, *registers: str) -> None:
        """What follows among the distances."""
        if self.stream.unroll == 1 and not self.stream.wide:
            self.op(f"ldrh {registers[0]}, [{self.distances}], #2")
        elif len(registers) == 1:
            self.op(f"ldr {registers[0]}, [{self.distances}], #4")
        else:
            self.op(f"ldm {self.distances}!, {{{', '.join(registers)}}}")
