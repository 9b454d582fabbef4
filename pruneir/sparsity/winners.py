"""Winners: the part of an activation that is largest by magnitude stays, the rest is zero, in standard operators.

A *winner rate* r of a value x of n elements a sample keeps k = max(1, ⌊r·n + ½⌋) of them (Yang et al., "Joint Pruning
on Activations and Weights for Efficient Neural Networks", 2019; "Integral Pruning" when submitted to ICLR 2019). The
threshold is that of the sample at hand, axis 0 being the samples. In a graph it has one fixed form, which `winners`
reads back and which needs opset 10:

    m = Abs(x)
    f = Flatten(m, axis=1)                          # [N, n]
    s = Slice(f, {0}, {max}, {1}, {step})           # sampled: every step-th element
    v, _ = TopK(s, k, axis=1)                       # [N, k], the largest first
    t = Slice(v, {-1}, {max}, {1})                  # [N, 1], the smallest of these
    θ = Reshape(t, {-1, 1, …})                      # [N, 1, …], of the rank of x
    y = Where(Less(m, θ), 0, x)

Where x has two axes there is no Flatten and no Reshape, and `fold` takes out the last Slice where k is 1. Where n
depends on the input, k is computed from Shape(s). A static threshold is a constant θ. Elements that are as large as
the threshold stay, all of them: of values that saturate (Relu6, Sigmoid) more than k may be left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor, gcd, prod

import numpy as np
import onnx

from pruneir.graph import Graph, Operator
from pruneir.shapes import infer

OPSET = 10
"""The first with a TopK and a Slice whose k and positions are inputs."""
_END = np.iinfo(np.int64).max
_FAR = np.iinfo(np.int32).max
"""From here on an end is that of the axis."""
_SECOND = (1, -1)
"""The axis of all that belongs to a sample."""


@dataclass(frozen=True, slots=True)
class Winners:
    """A mask that a graph has.

    source, output  the value before and behind it
    threshold       the value or constant that magnitudes are compared with
    kept            k, of those that the threshold is chosen among; None where it is computed, or the threshold static
    step            1: chosen among all elements; more: among every step-th; 0: static
    """

    source: str
    output: str
    threshold: str
    kept: int | None
    step: int


def count(rate: float, size: int) -> int:
    """How many of `size` elements win."""
    return min(size, max(1, floor(rate * size + 0.5)))


def stride(share: float, length: int | None) -> int:
    """The step that samples a share of the elements: none that divides evenly into rows of `length`, whose columns it
    would miss.
    """
    step = max(1, floor(1 / share + 1e-9))
    while length and step > 1 and gcd(step, length) > 1:
        step += 1
    return step


def put(
    graph: Graph,
    value: str,
    readers: Iterable[tuple[Operator, int]],
    rate: float,
    *,
    dtype: np.dtype,
    rank: int,
    size: int | None,
    step: int = 1,
) -> Winners:
    """Let some readers of a value read its winners only. The graph is changed.

    dtype    of the value: float32 or float64
    rank     of the value, 2 or more
    size     elements a sample, None where they depend on the input
    step     choose the threshold among every step-th element
    """
    make = _Maker(graph, value)
    magnitudes = make("Abs", "magnitudes", value)
    among = make("Flatten", "flat", magnitudes, axis=1) if rank > 2 else magnitudes
    if step > 1:
        among = make("Slice", "sample", among, *make.numbers("sample", [0], [_END], [1], [step]))
    kept = None if size is None else count(rate, -(-size // step))
    k = make.numbers("k", [kept])[0] if kept is not None else _counted(make, among, rate)
    best = make("TopK", "best", among, k, outputs=2, axis=1)
    threshold = make("Slice", "least", best, *make.numbers("last", [-1], [_END], [1]))
    if rank > 2:
        threshold = make("Reshape", "threshold", threshold, *make.numbers("axes", [-1, *[1] * (rank - 1)]))
    return Winners(value, _selected(make, dtype, magnitudes, threshold, readers), threshold, kept, step)


def put_static(
    graph: Graph, value: str, readers: Iterable[tuple[Operator, int]], threshold: float, *, dtype: np.dtype
) -> Winners:
    """The same with a threshold that is a constant."""
    make = _Maker(graph, value)
    constant = make.constant("threshold", np.array(threshold, dtype))
    magnitudes = make("Abs", "magnitudes", value)
    return Winners(value, _selected(make, dtype, magnitudes, constant, readers), constant, None, 0)


def winners(graph: Graph) -> list[Winners]:
    """The masks of the form above that a graph has, in its order."""
    return [found for operator in graph.operators if (found := _read(graph, operator)) is not None]


def winner_rates(graph: Graph) -> dict[str, float]:
    """The share of its elements that win, of each value behind a mask whose k and size are known."""
    found: dict[str, float] = {}
    if masks := winners(graph):
        shapes = infer(graph)
        for mask in masks:
            size = prod((shapes.shape(mask.source) or (0, 0))[1:])
            if mask.kept is not None and size:
                found[mask.output] = min(1.0, mask.kept / -(-size // mask.step))
    return found


class _Maker:
    """Adds operators and constants that are called after a value."""

    def __init__(self, graph: Graph, value: str):
        self.graph, self.value = graph, value

    def __call__(self, kind: str, what: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = tuple(self.name(what if not index else f"{what}_where") for index in range(outputs))
        self.graph.add(Operator(kind, inputs, names, attributes, name=names[0]))
        return names[0]

    def name(self, what: str) -> str:
        return self.graph.fresh_name(f"{self.value}.{what}")

    def constant(self, what: str, array: np.ndarray) -> str:
        return self.graph.define(self.name(what), array)

    def numbers(self, what: str, *lists: list[int]) -> list[str]:
        return [self.constant(f"{what}.{index}", np.array(each, np.int64)) for index, each in enumerate(lists)]


def _counted(make: _Maker, among: str, rate: float) -> str:
    """k where the number of elements is known at run time only."""
    size = make("Slice", "size", make("Shape", "shape", among), *make.numbers("second", [1], [2], [0]))
    exact = make("Cast", "size.exact", size, to=onnx.TensorProto.DOUBLE)
    part = make("Mul", "part", exact, make.constant("rate", np.array([rate])))
    rounded = make("Floor", "rounded", make("Add", "raised", part, make.constant("half", np.array([0.5]))))
    least = make("Max", "least.k", rounded, make.constant("one", np.array([1.0])))
    return make("Cast", "k", least, to=onnx.TensorProto.INT64)


def _selected(
    make: _Maker, dtype: np.dtype, magnitudes: str, threshold: str, readers: Iterable[tuple[Operator, int]]
) -> str:
    graph = make.graph
    losers = make("Less", "losers", magnitudes, threshold)
    output = make("Where", "winners", losers, make.constant("none", np.zeros((), dtype)), make.value)
    for reader, slots in _by_reader(readers).items():
        changed = reader
        for slot in slots:
            changed = changed.with_input(slot, output)
        graph.replace(reader, changed)
    return output


def _by_reader(readers: Iterable[tuple[Operator, int]]) -> dict[Operator, list[int]]:
    found: dict[Operator, list[int]] = {}
    for operator, slot in readers:
        found.setdefault(operator, []).append(slot)
    return found


def _read(graph: Graph, where: Operator) -> Winners | None:
    if not where.is_a("Where"):
        return None
    condition, zero, source = where.inputs
    less, none = _made(graph, condition, "Less"), graph.constant(zero)
    if less is None or none is None or none.any() or none.size != 1:
        return None
    magnitudes, threshold = less.inputs
    absolute = _made(graph, magnitudes, "Abs")
    if absolute is None or absolute.inputs[0] != source:
        return None
    constant = graph.constant(threshold)
    if constant is not None:
        return Winners(source, where.outputs[0], threshold, None, 0) if constant.size == 1 else None
    reshape = _made(graph, threshold, "Reshape")
    least = reshape.inputs[0] if reshape else threshold
    last = _made(graph, least, "Slice")
    best = _made(graph, last.inputs[0] if last else least, "TopK")
    if best is None or best.attribute("axis", -1) not in _SECOND or not best.attribute("largest", 1):
        return None
    if last is not None and (_ints(graph, last)[0] != -1 or _ints(graph, last)[2] not in _SECOND):
        return None
    k = graph.constant(best.inputs[1])
    kept = int(k.reshape(-1)[0]) if k is not None else None
    if last is None and kept != 1:
        return None
    sample = _made(graph, best.inputs[0], "Slice")
    among = sample.inputs[0] if sample is not None else best.inputs[0]
    flat = _made(graph, among, "Flatten", "Reshape")
    if (flat.inputs[0] if flat else among) != magnitudes:
        return None
    start, end, axis, step = _ints(graph, sample) if sample is not None else (0, _END, 1, 1)
    if start != 0 or end < _FAR or axis not in _SECOND or step < 1:
        return None
    return Winners(source, where.outputs[0], threshold, kept, step)


def _made(graph: Graph, value: str, *kinds: str) -> Operator | None:
    """The operator that defines a value, if it is one of these."""
    producer = graph.producer(value)
    return producer if producer is not None and producer.is_a(*kinds) else None


def _ints(graph: Graph, operator: Operator) -> tuple[int, int, int, int]:
    """Start, end, axis and step of a Slice of one axis; step 0 where it has several, or they are computed."""
    arrays = [graph.constant(name) for name in operator.inputs[1:]]
    if any(array is None or array.size != 1 for array in arrays):
        return 0, 0, 0, 0
    start, end, *others = (int(array.reshape(-1)[0]) for array in arrays if array is not None)
    axis, step = [*others, *(0, 1)[len(others) :]]
    return start, end, axis, step
