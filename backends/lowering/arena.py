"""Where each value lies in the arena: values that live at the same call never share a byte, and the arena is small.

Values that are written in the place of another follow it in a *chain*, whose members all start at one offset; a chain
is as high, at each call, as the member that lives there. Chains are placed one after another, each at the lowest offset
that is free throughout its life. **Some order of the chains gives the smallest arena**: that of their offsets in a
smallest arena, since each then falls to where it was or below. So the search is for an order. It starts from orders
that are known to be good (Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020), ends as
soon as the lower bound is reached, and until then puts forward what holds the arena up. Which values are written in
place is drawn anew whenever an order stays stuck.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from pruneir.backends.lowering.memory import Life, Memory, match
from pruneir.backends.lowering.program import Program

STEPS = 700_000  # pairs of chains looked at before the search gives up: about half a second
PATIENCE = 20  # moves per chain before other values are written in place


@dataclass(frozen=True, slots=True)
class Arena:
    """One block of memory for everything between calls.

    offsets      byte at which each value starts, aliases of values in the arena included
    size         bytes
    lower_bound  bytes: the most that live at one call, so that no arena is smaller
    lives        index of the first and of the last call for which each value's memory is held
    """

    offsets: Mapping[str, int]
    size: int
    lower_bound: int
    lives: Mapping[str, Life]


def place(program: Program, *, alignment: int = 16) -> Arena:
    """Offsets for the temporaries of a program, multiples of `alignment` bytes; the same ones at each run."""
    memory = Memory.of(program, alignment)
    offsets, size = _search(memory)
    owners = {name: program.owner(name) for name in (*memory.lives, *program.aliases)}
    inside = {name: owner for name, owner in owners.items() if owner in offsets}
    return Arena(
        offsets={name: offsets[owner] for name, owner in inside.items()},
        size=size,
        lower_bound=memory.bound,
        lives={name: memory.lives[owner] for name, owner in inside.items()},
    )


def _search(memory: Memory) -> tuple[dict[str, int], int]:
    """The best offsets found, and the size of their arena."""
    random = Random(0)
    best: dict[str, int] = {}
    size = sum(memory.sizes[name] for name in memory.lives)
    shared = match(memory.places, memory.sizes)
    steps = STEPS
    while steps > 0:
        chains = _Chains.of(memory, shared)
        for offsets in chains.packings(random):
            steps -= chains.pairs
            height = chains.height(offsets)
            if not best or height < size:
                best, size = chains.named(offsets), height
            if size == memory.bound or steps <= 0:
                return best, size
        shared = _redraw(memory, size, random)
    return best, size


def _redraw(memory: Memory, size: int, random: Random) -> dict[str, str]:
    """Other values in place: each where it may be, in any order, some elsewhere if an arena below `size` has room."""
    loads = memory.loads({})
    places = {}
    for written, reads in memory.places.items():
        if loads[memory.lives[written][0]] >= size or random.random() < 0.5:
            places[written] = random.sample(reads, len(reads))
    shared: dict[str, str] = match(places, memory.sizes)
    return shared


@dataclass(frozen=True)
class _Chains:
    """Values that share an offset, and what stands in whose way.

    members     the values of each chain
    sizes, lives  of each chain
    fullest     of each chain: the bytes, negative, that live at the fullest of its calls, and that call
    neighbours  of each chain: those that live with it, as (chain, own height in its presence, its height)
    """

    members: Sequence[Sequence[str]]
    sizes: Sequence[int]
    lives: Sequence[Life]
    fullest: Sequence[tuple[int, int]]
    neighbours: Sequence[Sequence[tuple[int, int, int]]]

    @classmethod
    def of(cls, memory: Memory, shared: Mapping[str, str]) -> _Chains:
        """The chains that `shared`, pairs (written, read), link."""
        followers = {read: written for written, read in shared.items()}
        members = [list(_follow(name, followers)) for name in memory.lives if name not in shared]
        chain = {name: index for index, names in enumerate(members) for name in names}
        heights: list[dict[int, int]] = [{} for _ in members]
        for one, other in _meetings(memory.lives):
            a, b = chain[one], chain[other]
            if a != b:
                heights[a][b] = max(heights[a].get(b, 0), memory.sizes[one])
                heights[b][a] = max(heights[b].get(a, 0), memory.sizes[other])
        lives = [(memory.lives[names[0]][0], memory.lives[names[-1]][1]) for names in members]
        crowds = [(-load, call) for call, load in enumerate(memory.loads(shared))]
        return cls(
            members,
            sizes=[memory.sizes[names[0]] for names in members],
            lives=lives,
            fullest=[min(crowds[first : last + 1]) for first, last in lives],
            neighbours=[[(b, own, heights[b][a]) for b, own in met.items()] for a, met in enumerate(heights)],
        )

    @property
    def pairs(self) -> int:
        """How many pairs one packing looks at."""
        return len(self.members) + sum(map(len, self.neighbours))

    def packings(self, random: Random) -> Iterator[list[int]]:
        """Offsets of the chains: by the known orders, then on a climb from the best of them."""
        known = []
        for order in self.orders():
            known.append((order, offsets := self.pack(order)))
            yield offsets
        order, offsets = min(known, key=lambda pair: self.height(pair[1]))
        for _ in range(PATIENCE * len(order)):
            lifted = self.lift(order, offsets, random)
            packed = self.pack(lifted)
            if self.height(packed) <= self.height(offsets):
                order, offsets = lifted, packed
            yield packed

    def orders(self) -> Iterator[list[int]]:
        """Orders that are often good: large first, large and long-lived first, and the fullest calls first."""
        chains = range(len(self.members))
        length = [last - first + 1 for first, last in self.lives]
        area = [size * calls for size, calls in zip(self.sizes, length, strict=True)]
        yield sorted(chains, key=lambda c: (-self.sizes[c], self.lives[c]))
        yield sorted(chains, key=lambda c: (-area[c], self.lives[c]))
        yield sorted(chains, key=lambda c: (*self.fullest[c], -length[c]))
        yield sorted(chains, key=lambda c: (*self.fullest[c], -area[c]))

    def lift(self, order: Sequence[int], offsets: Sequence[int], random: Random) -> list[int]:
        """The order with one chain put forward: the topmost, one that holds it up, or, past the floor, any."""
        chosen = max(order, key=lambda chain: offsets[chain] + self.sizes[chain])
        while random.random() < 0.5:
            below = [b for b, _, theirs in self.neighbours[chosen] if offsets[b] + theirs == offsets[chosen]]
            chosen = random.choice(below or order)
        place = random.randrange(max(1, order.index(chosen)))
        others = [chain for chain in order if chain != chosen]
        return [*others[:place], chosen, *others[place:]]

    def pack(self, order: Sequence[int]) -> list[int]:
        """The lowest free offset for each chain, in this order."""
        offsets = [-1] * len(order)
        for chain in order:
            met = self.neighbours[chain]
            offset = 0
            for low, high in sorted(
                (offsets[b] - own, offsets[b] + theirs) for b, own, theirs in met if offsets[b] >= 0
            ):
                if offset <= low:
                    break
                offset = max(offset, high)
            offsets[chain] = offset
        return offsets

    def height(self, offsets: Sequence[int]) -> int:
        """The size of the arena."""
        return max((offset + size for offset, size in zip(offsets, self.sizes, strict=True)), default=0)

    def named(self, offsets: Sequence[int]) -> dict[str, int]:
        """The offset of each value."""
        return {name: offset for names, offset in zip(self.members, offsets, strict=True) for name in names}


def _follow(name: str, followers: Mapping[str, str]) -> Iterator[str]:
    yield name
    while name in followers:
        yield (name := followers[name])


def _meetings(lives: Mapping[str, Life]) -> Iterator[tuple[str, str]]:
    """All pairs of values that live at the same call."""
    alive: list[str] = []
    for name in sorted(lives, key=lambda name: lives[name][0]):
        alive = [other for other in alive if lives[other][1] >= lives[name][0]]
        yield from ((name, other) for other in alive)
        alive.append(name)
