"""What a program asks of the arena: which bytes live at which call, and which of them may be written over.

A value lives from the first call that touches it to the last, through all its aliases. What the caller provides (inputs
and outputs, also where later calls read them) and what lies in flash asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from pruneir.backends.lowering.program import Call, Program

Life = tuple[int, int]  # index of the first and of the last call


@dataclass(frozen=True)
class Memory:
    """The values of a program that lie in the arena.

    sizes    bytes of each, a multiple of the alignment
    touched  by call: the values that it reads, writes or works in, and those that must outlast the last call
    pairs    by call: (written, read) where the first fits in the place of the second, should that die here
    """

    sizes: Mapping[str, int]
    touched: Sequence[Sequence[str]]
    pairs: Sequence[Sequence[tuple[str, str]]]

    @classmethod
    def of(cls, program: Program, alignment: int) -> Memory:
        """The memory of a program, aliases resolved."""
        owned = {buffer.name for buffer in program.temporaries if buffer.name not in program.aliases}
        sizes = {buffer.name: -(-buffer.nbytes // alignment) * alignment for buffer in program.temporaries}
        sizes = {name: size for name, size in sizes.items() if name in owned}

        def values(*names: str) -> list[str]:
            return [owner for owner in dict.fromkeys(map(program.owner, names)) if owner in sizes]

        touched = [values(*call.reads, *call.writes, *call.workspaces) for call in program.calls]
        if touched:
            kept = values(*(output.name for output in program.outputs))
            touched[-1] = list(dict.fromkeys([*touched[-1], *kept]))
        return cls(sizes, touched, [_pairs(program, call, sizes) for call in program.calls])

    @cached_property
    def users(self) -> Mapping[str, Sequence[int]]:
        """The calls that touch each value."""
        users: dict[str, list[int]] = {}
        for index, names in enumerate(self.touched):
            for name in names:
                users.setdefault(name, []).append(index)
        return users

    @cached_property
    def lives(self) -> Mapping[str, Life]:
        """The first and the last call that touch each value."""
        return {name: (users[0], users[-1]) for name, users in self.users.items()}

    @cached_property
    def places(self) -> Mapping[str, Sequence[str]]:
        """For each value that may be written over others: those that its call is the last to read."""
        places: dict[str, list[str]] = {}
        for index, pairs in enumerate(self.pairs):
            for written, read in pairs:
                if self.lives[written][0] == index == self.lives[read][1]:
                    places.setdefault(written, []).append(read)
        return places

    def loads(self, shared: Mapping[str, str]) -> list[int]:
        """Bytes that live at each call, when `shared` (written → read) are written in place."""
        change = [0] * (len(self.touched) + 1)
        for name, (first, last) in self.lives.items():
            change[first] += self.sizes[name]
            change[last + 1] -= self.sizes[name]
        loads = list(accumulate(change))[:-1]
        for name in shared:
            loads[self.lives[name][0]] -= self.sizes[name]
        return loads

    @cached_property
    def bound(self) -> int:
        """No arena is smaller: the most bytes that live at one call, all in place that can be."""
        return max(self.loads(match(self.places, self.sizes)), default=0)


def match(places: Mapping[str, Sequence[str]], sizes: Mapping[str, int]) -> dict[str, str]:
    """To each written value a place of its own among its `places`, for as many bytes as possible.

    Augmenting paths (Kuhn 1955), the largest values first: they are a matroid, so greedy is optimal.
    """
    guests: dict[str, str] = {}

    def seat(written: str, tried: set[str]) -> bool:
        for read in places[written]:
            if read not in tried:
                tried.add(read)
                if read not in guests or seat(guests[read], tried):
                    guests[read] = written
                    return True
        return False

    for written in sorted(places, key=lambda name: -sizes[name]):
        seat(written, set())
    return {written: read for read, written in guests.items()}


def _pairs(program: Program, call: Call, sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    """What fits where; memory that the call also reads under a name that is not paired, or also writes, is left out."""
    writes = set(map(program.owner, call.writes))
    pairs = []
    for written, read in call.inplace:
        target, source = program.owner(written), program.owner(read)
        names = {name for name in call.reads if program.owner(name) == source}
        if (
            target in sizes
            and sizes[target] <= sizes.get(source, -1)
            and source not in writes
            and all((written, name) in call.inplace for name in names)
        ):
            pairs.append((target, source))
    return list(dict.fromkeys(pairs))
