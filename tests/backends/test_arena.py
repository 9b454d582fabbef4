"""The arena: no value is written over while it is needed, and little more memory than that is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneir.backends.lowering.arena import Arena, place
from pruneir.backends.lowering.order import order
from pruneir.backends.lowering.program import Buffer, Call, Program

UNIT = 16  # bytes: sizes in texts are in units


def buffer(name: str, units: int) -> Buffer:
    return Buffer(name, np.dtype(np.float32), (units * UNIT // 4,))


def program(text: str, outputs: str = "y z") -> Program:
    """`a:4 = x` writes a, of 4 units; `~` may do so in the place of what it reads; `^8` works in 8 units; `r is a`."""
    calls: list[Call] = []
    temporaries: list[Buffer] = []
    aliases: dict[str, str] = {}
    for index, step in enumerate(text.split("; ")):
        if " is " in step:
            alias, name = step.split(" is ")
            aliases[alias] = name
            continue
        written, sign, *read = step.split()
        reads = tuple(name for name in read if not name.startswith("^"))
        spaces = {f"space{index}": int(name[1:]) for name in read if name.startswith("^")}
        values = {name: int(units or 1) for name, _, units in (word.partition(":") for word in written.split(","))}
        pairs = tuple(product(values, reads)) if sign == "~" else ()
        calls.append(Call("f", (*reads, *values, *spaces), reads, tuple(values), tuple(spaces), pairs, layer=step))
        temporaries += [buffer(*item) for item in (values | spaces).items() if item[0] not in outputs.split()]
    return Program(
        inputs=(buffer("x", 4),),
        outputs=tuple(buffer(name, 1) for name in outputs.split()),
        constants=(),
        temporaries=tuple(temporaries),
        calls=tuple(calls),
        kernels=(),
        aliases=aliases,
    )


# program → the smallest arena, the most that lives at one call, in units
CASES = {
    "nothing between calls": ("y = x", 0, 0),
    "chain": ("a:4 = x; b:4 = a; c:4 = b; y = c", 8, 8),
    "two ends of the arena": ("a:6 = x; b:2 = a; c:5 = b; d:1 = c; y = d", 8, 8),
    "in place": ("a:4 = x; b:4 ~ a; c:4 ~ b; y = c", 4, 4),
    "in place, smaller": ("a:4 = x; b:2 ~ a; c:2 = b; y = c", 4, 4),
    "larger than its place": ("a:2 = x; b:4 ~ a; y = b", 6, 6),
    "its place is read again": ("a:4 = x; b:4 ~ a; y = a b", 8, 8),
    "its place is the input": ("a:4 ~ x; y = a", 4, 4),
    "residual": ("a:4 = x; b:4 = a; c:4 ~ a b; y = c", 8, 8),
    "two in two places": ("a:4 = x; b:3 = a; c:3,d:4 ~ a b; y = c d", 7, 7),
    "two in one place": ("a:4 = x; c:4,d:4 ~ a; y = c d", 8, 8),
    "workspace": ("a:4 = x ^8; b:4 = a; y = b", 12, 12),
    "workspaces of two calls": ("a:1 = x ^8; b:1 = a ^9; y = b", 11, 11),
    "output read by others": ("a:4 = x; y = a; b:2 = y; z = b y", 4, 4),
    "through an alias": ("a:4 = x; r is a; b:4 = r; c:4 = b; y = c r", 12, 12),
    "alias of an alias": ("a:4 = x; r is a; s is r; b:4 ~ s; y = b", 4, 4),
    "the same memory under two names": ("a:4 = x; r is a; b:4 ~ a r; y = b", 4, 4),
    "alias of the output": ("a is y; a:4 = x; b:4 ~ a; z = b a", 4, 4),
    "never read": ("a:4 = x; b:2 = x; y = a", 6, 6),
    "output in the arena lives to the end": ("y is a; a:4 = x; b:4 = x; z = b", 8, 8),
    "bound out of reach": ("a:3 = x; b:2 ~ x; c:1 ~ b x; d:1 ~ a ^1; e:3 ~ c d; y = e", 6, 5),
}


@pytest.mark.parametrize(("text", "size", "bound"), CASES.values(), ids=CASES)
def test_exact(text: str, size: int, bound: int) -> None:
    arena = place(program(text))
    assert (arena.size, arena.lower_bound) == (size * UNIT, bound * UNIT)
    run(program(text), arena)


def test_lives_and_offsets_of_aliases() -> None:
    arena = place(program("a:4 = x; r is a; b:4 = r; y = b"))
    assert arena.lives == {"a": (0, 1), "r": (0, 1), "b": (1, 2)}
    assert arena.offsets["r"] == arena.offsets["a"] != arena.offsets["b"]


@pytest.mark.parametrize("alignment", [1, 4, 8, 64])
def test_alignment(alignment: int) -> None:
    odd = [Buffer(name, np.dtype(np.int8), (size,)) for name, size in (("a", 5), ("b", 67), ("c", 1))]
    arena = place(replace(program("a = x; b = a; c = a b; y = c"), temporaries=tuple(odd)), alignment=alignment)
    assert all(offset % alignment == 0 for offset in arena.offsets.values())
    assert arena.size == arena.lower_bound == sum(-(-value.nbytes // alignment) * alignment for value in odd)


def run(program: Program, arena: Arena) -> None:
    """Carries out the calls on an arena that knows whose each unit is: whoever reads finds what was written."""
    sizes = {value.name: value.nbytes // UNIT for value in program.temporaries}
    holds: dict[int, str] = {}

    def units(name: str) -> range:
        start, rest = divmod(arena.offsets[name], UNIT)
        assert rest == 0
        assert arena.offsets[name] + sizes[name] * UNIT <= arena.size
        return range(start, start + sizes[name])

    def inside(names: tuple[str, ...]) -> list[str]:
        return [owner for owner in map(program.owner, names) if owner in sizes]

    for call in program.calls:
        for name in inside(call.reads):
            assert all(holds.get(unit) == name for unit in units(name)), f"{call.layer}: {name} was written over"
        written: set[int] = set()
        for name in inside(call.writes + call.workspaces):
            assert not written.intersection(units(name)), f"{call.layer}: {name} is written over as it is written"
            written.update(units(name))
            for read in inside(call.reads):
                shared = set(units(name)) & set(units(read))
                pairs = [tuple(map(program.owner, pair)) for pair in call.inplace]
                assert not shared or (units(name)[0] == units(read)[0] and (name, read) in pairs)
            holds.update(dict.fromkeys(units(name), name))
    for name in inside(tuple(value.name for value in program.outputs)):
        assert all(holds.get(unit) == name for unit in units(name))


@st.composite
def programs(draw: st.DrawFn, calls: int = 12, units: int = 6, reach: int = 4) -> Program:
    """Random texts: each call reads one of the last values, or two; an output among them; aliases and workspaces."""
    names, steps = ["x"], []
    for index in range(draw(st.integers(1, calls))):
        reads = draw(st.lists(st.sampled_from(names[-reach:]), min_size=1, max_size=2, unique=True))
        written = [f"v{index}", *draw(st.sampled_from([[], [], [], [f"u{index}"]]))]
        space = draw(st.sampled_from(["", "", f" ^{draw(st.integers(1, units))}"]))
        values = [f"{name}:{draw(st.integers(1, units))}" for name in written]
        steps.append(f"{','.join(values)} {draw(st.sampled_from('=~'))} {' '.join(reads)}{space}")
        names += written
        if draw(st.integers(0, 5)) == 0:
            steps.append(f"r{index} is v{index}")
            names.append(f"r{index}")
    outputs = {"y", *draw(st.sets(st.sampled_from(names[1:]), max_size=1))} - {n for n in names if n.startswith("r")}
    return program("; ".join([*steps, f"y = {names[-1]}"]), " ".join(sorted(outputs)))


@settings(deadline=None)
@given(programs())
def test_every_reader_finds_what_was_written(program: Program) -> None:
    arena = place(program)
    run(program, arena)
    assert arena.size >= arena.lower_bound
    assert arena == place(program)


@settings(deadline=None)
@given(programs(calls=5, units=3))
@pytest.mark.slow
def test_near_the_optimum(program: Program) -> None:
    best = optimum(program)
    arena = place(program)
    assert arena.lower_bound <= best <= arena.size <= 1.1 * best


@settings(deadline=None)
@given(programs())
def test_order(program: Program) -> None:
    ordered = order(program)
    run(ordered, place(ordered))
    assert sorted(map(repr, ordered.calls)) == sorted(map(repr, program.calls))
    old, new = place(program).lower_bound, place(ordered).lower_bound
    assert new < old or ordered is program


@settings(deadline=None)
@given(programs(calls=5, reach=6))
def test_order_is_the_best_of_all(program: Program) -> None:
    assert place(order(program)).lower_bound == min(place(other).lower_bound for other in orders(program))


def test_hundreds_of_residual_blocks() -> None:
    blocks = (
        f"a{i}:{4 + i % 7} = s{i}; b{i}:{5 + i % 3} = a{i} ^{i % 5 + 1}; s{i + 1}:5 ~ b{i} s{i}; t{i}:1 = s{i + 1}"
        for i in range(100)
    )
    deep = program("; ".join(["s0:5 = x", *blocks, "y = s100 " + " ".join(f"t{i}" for i in range(100))]))
    arena = place(deep)
    run(deep, arena)
    assert len(arena.offsets) == 501
    assert arena.size <= 1.1 * arena.lower_bound
    run(order(deep), place(order(deep)))


def test_order_finishes_a_branch_first() -> None:
    wide = program("a:8 = x; b:8 = x; c:1 = a; d:1 = b; y = c d")
    assert place(wide).lower_bound == 17 * UNIT
    assert [call.writes for call in order(wide).calls] == [("a",), ("c",), ("b",), ("d",), ("y",)]
    assert place(order(wide)).size == 10 * UNIT


def optimum(program: Program) -> int:
    """The smallest arena, found by trying all offsets."""
    sizes = {value.name: value.nbytes // UNIT for value in program.temporaries}
    alive = {name: alive_at(program, name) for name in sizes if alive_at(program, name)}
    agree = {(a, b): agreeing(program, a, b, sizes, alive) for a, b in product(alive, repeat=2)}

    def fits(offsets: Mapping[str, int], name: str, offset: int) -> bool:
        return all(
            offset + sizes[name] <= taken
            or taken + sizes[other] <= offset
            or not alive[name] & alive[other]
            or (offset == taken and agree[name, other])
            for other, taken in offsets.items()
        )

    def settle(names: list[str], offsets: dict[str, int], size: int) -> bool:
        if not names:
            return True
        name, *rest = names
        return any(
            fits(offsets, name, offset) and settle(rest, {**offsets, name: offset}, size)
            for offset in range(size - sizes[name] + 1)
        )

    size = max((sizes[name] for name in alive), default=0)
    while not settle(list(alive), {}, size):
        size += 1
    return size * UNIT


def alive_at(program: Program, name: str) -> set[int]:
    """The calls between whose first and last a value is touched."""
    used = [
        index
        for index, call in enumerate(program.calls)
        if name in map(program.owner, call.reads + call.writes + call.workspaces)
    ]
    return set(range(used[0], used[-1] + 1)) if used else set()


def agreeing(program: Program, one: str, other: str, sizes: Mapping[str, int], alive: Mapping[str, set[int]]) -> bool:
    """Whether one of two values may be written in the place of the other: they meet in one call, that allows it."""
    common = alive[one] & alive[other]
    if len(common) != 1:
        return False
    call = program.calls[min(common)]
    pairs = [tuple(map(program.owner, pair)) for pair in call.inplace]
    return any(
        (written, read) in pairs and max(alive[read]) == min(alive[written]) and sizes[written] <= sizes[read]
        for written, read in ((one, other), (other, one))
    )


def orders(program: Program) -> Iterator[Program]:
    """The program in every order of its calls that writes before it reads."""
    made_by = {name: index for index, call in enumerate(program.calls) for name in map(program.owner, call.writes)}
    needs = [{made_by[name] for name in map(program.owner, call.reads) if name in made_by} for call in program.calls]

    def extend(calls: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(calls) == len(needs):
            yield calls
        for call, needed in enumerate(needs):
            if call not in calls and needed <= set(calls):
                yield from extend((*calls, call))

    return (replace(program, calls=tuple(program.calls[index] for index in calls)) for calls in extend(()))
