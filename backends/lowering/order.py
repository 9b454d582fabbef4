"""The order of the calls that needs the least memory at its fullest call.

What lives after some calls depends on which they were, not on their order; so of all orders of the same calls only the
one with the lowest peak so far is kept, as in Ahn et al., Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired
Neural Networks (MLSys 2020). Where there are more sets of calls of one size than `WIDTH`, the best of them go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest

from pruneir.backends.lowering.memory import Memory, match
from pruneir.backends.lowering.program import Program

WIDTH = 32


def order(program: Program, *, alignment: int = 16) -> Program:
    """The program with its calls in an order of a lower peak, or as it is if none was found.

    Calls keep their order where one writes memory that the other touches.
    """
    memory = Memory.of(program, alignment)
    steps = _Steps.of(program, memory)
    front = {0: _Partial(0, 0, (), tuple(steps.ready(0, range(len(program.calls)))))}
    for _ in program.calls:
        found: dict[int, tuple[int, int, int, int]] = {}
        for done, partial in front.items():
            for call in partial.ready:
                step = (*steps.cost(done, partial, call), done, call)
                known = found.setdefault(done | 1 << call, step)
                if step[0] < known[0]:
                    found[done | 1 << call] = step
        best = nsmallest(WIDTH, found.items(), key=lambda item: item[1][:2])
        front = {
            after: steps.extended(front[done], peak, live, after, call) for after, (peak, live, done, call) in best
        }
    (whole,) = front.values()
    ordered = replace(program, calls=tuple(program.calls[call] for call in whole.calls))
    return ordered if Memory.of(ordered, alignment).bound < memory.bound else program


@dataclass(frozen=True, slots=True)
class _Partial:
    """The best known order of some calls.

    peak   the most bytes that live at one of them
    live   bytes that live after them
    ready  calls that may come next
    """

    peak: int
    live: int
    calls: tuple[int, ...]
    ready: tuple[int, ...]


@dataclass(frozen=True)
class _Steps:
    """What a call needs and changes. Sets of calls are integers, bit i for call i.

    before     by call: those that must come before it
    followers  by call: those that must come after it
    users      by value: those that touch it
    """

    memory: Memory
    before: Sequence[int]
    followers: Sequence[Sequence[int]]
    users: Mapping[str, int]

    @classmethod
    def of(cls, program: Program, memory: Memory) -> _Steps:
        """The steps of a program."""
        before = list(_before(program))
        followers: list[list[int]] = [[] for _ in before]
        for call, needs in enumerate(before):
            for earlier in range(call):
                if needs >> earlier & 1:
                    followers[earlier].append(call)
        users = {name: sum(1 << call for call in calls) for name, calls in memory.users.items()}
        return cls(memory, before, followers, users)

    def ready(self, done: int, calls: Iterable[int]) -> Iterator[int]:
        """Those of the calls that need nothing but what is done."""
        return (call for call in calls if not self.before[call] & ~done)

    def cost(self, done: int, partial: _Partial, call: int) -> tuple[int, int]:
        """The peak with one more call, and what lives after it."""
        after = done | 1 << call
        sizes, touched = self.memory.sizes, self.memory.touched[call]
        born = [name for name in touched if not self.users[name] & done]
        dead = [name for name in touched if not self.users[name] & ~after]
        places: dict[str, list[str]] = {}
        for written, read in self.memory.pairs[call]:
            if written in born and read in dead:
                places.setdefault(written, []).append(read)
        live = partial.live + sum(sizes[name] for name in born)
        inside = sum(sizes[name] for name in match(places, sizes)) if places else 0
        return max(partial.peak, live - inside), live - sum(sizes[name] for name in dead)

    def extended(self, partial: _Partial, peak: int, live: int, done: int, call: int) -> _Partial:
        """The order with one more call, after which `done` are."""
        waiting = (other for other in partial.ready if other != call)
        return _Partial(peak, live, (*partial.calls, call), (*waiting, *self.ready(done, self.followers[call])))


def _before(program: Program) -> Iterator[int]:
    """For each call, the earlier ones that write what it touches or read what it writes."""
    writers: dict[str, int] = {}
    readers: dict[str, int] = {}
    for index, call in enumerate(program.calls):
        reads, writes = ({program.owner(name) for name in names} for names in (call.reads, call.writes))
        needs = 0
        for name in reads | writes:
            needs |= writers.get(name, 0) | (readers.get(name, 0) if name in writes else 0)
        yield needs
        for users, names in ((readers, reads), (writers, writes)):
            for name in names:
                users[name] = users.get(name, 0) | 1 << index
