"""Four times the layers are four times the work: what walks a graph must not walk it once a layer."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

from pruneir.coupling import couple
from pruneir.explain.axes import Reader
from pruneir.explain.constraints import constraints
from pruneir.explain.drawing import drawing
from pruneir.explain.locks import locks
from pruneir.folding.arithmetic import fold_shape_arithmetic
from pruneir.folding.sizes import Samples
from pruneir.graph import Graph, parse
from pruneir.pipeline import Plan
from pruneir.selection.phases import _runs
from pruneir.sparsity.dead import dead_channels
from pruneir.surgery import apply


def network(layer: str, count: int, shared: str = "") -> Graph:
    """A chain of one layer again and again; `{v}` is what it reads, `{o}` what it makes, `{i}` its number."""
    layers = [layer.format(v=f"v{i}", o=f"v{i + 1}", i=i) for i in range(count)]
    between = "; ".join([*layers, f"y = Conv(v{count}, z[4,8,1,1])"])
    return parse(f"x[N,3,4,4] -> y {{ {shared} v0 = Conv(x, w[8,3,1,1]); {between} }}")


CHAIN = "r{i} = Conv({v}, w{i}[8,8,1,1], b{i}[8]); {o} = Relu(r{i})"
RESIDUAL = "a{i} = Conv({v}, w{i}[4,8,1,1]); r{i} = Relu(a{i}); c{i} = Conv(r{i}, u{i}[8,4,1,1]); {o} = Add({v}, c{i})"
CONSTANT = (
    "p{i} = Concat({v}, k{i}[1,1,4,4], axis=1); q{i} = Conv({v}, w{i}[9,8,1,1]); s{i} = Add(p{i}, q{i}); "
    "{o} = Conv(s{i}, u{i}[8,9,1,1])"
)
SHAPES = "flat[3]{-1,8,16}; back[4]{-1,8,4,4};"
SHAPED = "c{i} = Conv({v}, w{i}[8,8,1,1]); r{i} = Reshape(c{i}, flat); {o} = Reshape(r{i}, back)"
FILLED = (
    "c{i} = Conv({v}, w{i}[8,8,1,1]); s{i} = Shape(c{i}); n{i} = Gather(s{i}, {{0}}); "
    "t{i} = Concat(n{i}, {{8}}, {{4}}, {{4}}, axis=0); f{i} = ConstantOfShape(t{i}); {o} = Add(c{i}, f{i})"
)


def dead(count: int) -> Callable[[], object]:
    coupling = couple(network(CHAIN, count))
    groups = coupling.groups
    return lambda: dead_channels(coupling, groups)


def why(count: int) -> Callable[[], object]:
    coupling = couple(network(CONSTANT, count))
    return lambda: locks(coupling)


def plan(count: int) -> Callable[[], object]:
    names = [f"w{i}" for i in range(count)]
    given = Plan(follows={f"s{name}": (name, 0) for name in names})
    cuts, sizes = {name: {0: np.arange(4)} for name in names}, dict.fromkeys(names, (8,))
    return lambda: given.then(cuts, sizes, frozenset(), "filter")


def surgery(count: int) -> Callable[[], object]:
    coupling = couple(network(SHAPED, count, SHAPES))
    cut = coupling.dead((group, np.arange(4)) for group in coupling.groups)
    return lambda: apply(coupling, cut)


def sizes(count: int) -> Callable[[], object]:
    graph = network(FILLED, count)
    samples = Samples(graph.copy())
    assert len(samples.points) > 1
    return lambda: fold_shape_arithmetic(graph, samples)


def explained(count: int) -> Callable[[], object]:
    coupling = couple(network(RESIDUAL, count))
    groups, reader = coupling.groups, Reader(coupling)
    return lambda: (drawing(coupling, groups), list(map(constraints, groups)), list(reader.axes(reader.names("r*"))))


def phases(count: int) -> Callable[[], object]:
    return lambda: _runs(np.arange(1.0, count + 1), 6)


WORK = {
    "dead neurons": dead,
    "locks where channels meet data": why,
    "plans after fold-bn": plan,
    "cuts of constants that many read": surgery,
    "dynamic shapes": sizes,
    "what explain says": explained,
    "phases of equal size": phases,
}


def steps(work: Callable[[], object]) -> int:
    """How many instructions Python executes: the same on any machine, however busy."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("prepared", WORK.values(), ids=WORK)
def test_four_times_the_layers_are_four_times_the_work(prepared: Callable[[int], Callable[[], object]]) -> None:
    prepared(8)()  # imports, and what is made once
    few, many = (steps(prepared(count)) for count in (30, 120))
    assert many < 4.5 * few


def test_operators_that_shared_a_constant_share_what_replaces_it() -> None:
    coupling = couple(network(SHAPED, 4, SHAPES))
    cut = coupling.dead((group, np.arange(4)) for group in coupling.groups)
    held = apply(coupling, cut).graph.initializers.values()
    assert sorted(array.tolist() for array in held if array.dtype.kind == "i") == [[-1, 4, 4, 4], [-1, 4, 16]]


def test_what_many_groups_stand_on_takes_no_memory_for_each() -> None:
    few, many = map(bytes_of_groups, (50, 200))
    assert many < 6 * few


def bytes_of_groups(branches: int) -> int:
    """The peak while a concat of so many branches is taken apart."""
    parts = "; ".join(f"a{i} = Conv(x, w{i}[4,3,1,1])" for i in range(branches))
    joined = ", ".join(f"a{i}" for i in range(branches))
    coupling = couple(
        parse(f"x[N,3,4,4] -> y {{ {parts}; c = Concat({joined}, axis=1); y = Conv(c, z[4,{4 * branches},1,1]) }}")
    )
    tracemalloc.start()
    assert len(coupling.groups) == branches
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
