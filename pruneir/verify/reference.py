"""The uncut networks that a pruned one must equal.

`masked`: the network with the removed slices of its float constants set to zero, on the producer's and on the
consumer's side (of quantized weights: to their zero point); a constant that divides, is a variance or an exponent is
set to one there. What a removed channel is without absorption: nothing, to anything that reads it.

`held`: the network with each removed channel held at a constant r wherever an operator sums over it, x·m + r with the
mask m. What a removed channel is with absorption: r, which consumers' biases can take in. A convolution's zero padding
reads r there too, since a bias knows no border; the difference that true padding makes is drift.

Positions of shared labels die alike, so nothing else has to be masked: every removed position ends in one of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.coupling import Coupling, Cut, Use
from pruneir.coupling.rule import Reading
from pruneir.graph import Graph, Operator
from pruneir.verify.drift import Kept
from pruneir.verify.statistics import over_kept
from pruneir.verify.tolerance import is_float

Held = Mapping[tuple[Operator, int, int], np.ndarray]
"""The constants that removed channels are held at: an array as long as the axis, by operator, input slot and axis."""

_TO_ONE = ("divisor", "exponent", "variance")
_INTEGERS = ("in", "out", "quantized")
"""Roles in which integers stand for weights; in all others they are indices, sizes or zero points."""


def masked(coupling: Coupling, dead: np.ndarray) -> Graph:
    """The network with everything that a cut removes set to zero.

    dead  `[generators]`, as for the cut

    Uses of one constant that lose different positions read a copy each, `NAME@NODE`.
    """
    masking = _Masking(coupling.graph.copy(), coupling.cut(dead))
    by_name: dict[str, list[Use]] = defaultdict(list)
    for use in coupling.traced.uses:
        by_name[use.name].append(use)
    for name, uses in by_name.items():
        array = coupling.graph.constant(name)
        if array is not None:
            masking.mask(name, array, uses)
    return over_kept(coupling, masking.cut, masking.finish())


def held(coupling: Coupling, dead: np.ndarray, values: Held) -> Graph:
    """The network with every removed channel held at a constant where it is summed over; at zero where none is given.

    Padding that depends on the image's size (`auto_pad`) is written out for the sizes that the coupling was traced at.
    """
    masking = _Masking(coupling.graph.copy(), coupling.cut(dead))
    for use in coupling.traced.uses:
        array = coupling.graph.constant(use.name)
        if array is not None and "recurrent" in use.roles.values():  # what an operator sums over inside of itself
            masking.mask(use.name, array, [use])
    holding = _Holding(coupling, masking.finish(), masking.cut)
    by_operator: dict[Operator, list[Reading]] = defaultdict(list)
    for reading in coupling.traced.readings:
        if holding.cut.touches(reading.labels):
            by_operator[reading.operator].append(reading)
    for operator, readings in by_operator.items():
        holding.hold(operator, readings, values)
    return over_kept(coupling, holding.cut, holding.graph)


def kept_positions(coupling: Coupling, dead: np.ndarray) -> Kept:
    """Which positions of every activation a cut leaves, by value and axis, where it removes any."""
    cut = coupling.cut(dead)
    found: dict[str, dict[int, np.ndarray]] = {}
    for name, state in coupling.traced.values.items():
        for axis, labels in enumerate(state.labels):
            if labels is not None and cut.touches(labels):
                found.setdefault(name, {})[axis] = cut.kept(labels)
    return found


class _Masking:
    """Sets constants, use by use where uses disagree."""

    def __init__(self, graph: Graph, cut: Cut):
        self.graph, self.cut = graph, cut
        self.rewired: dict[Operator, Operator] = {}

    def mask(self, name: str, array: np.ndarray, uses: list[Use]) -> None:
        """Set what the uses of one constant lose."""
        results = [self._masked(array, use) for use in uses]
        if all(np.array_equal(each, results[0], equal_nan=True) for each in results[1:]):
            if results[0] is not array:
                self._define(name, results[0])
            return
        for use, result in zip(uses, results, strict=True):
            if result is not array:
                copy = self.graph.fresh_name(f"{name}@{use.operator.label}")
                self._define(copy, result)
                now = self.rewired.get(use.operator, use.operator)
                self.rewired[use.operator] = now.with_input(use.slot, copy)

    def finish(self) -> Graph:
        """The graph, its operators reading their copies."""
        for old, new in self.rewired.items():
            self.graph.replace(old, new)
        return self.graph

    def _masked(self, array: np.ndarray, use: Use) -> np.ndarray:
        """The array as this use reads it; itself where nothing goes."""
        result = array
        for axis, labels in enumerate(use.labels):
            if self.cut.touches(labels) and (is_float(array.dtype) or use.roles.get(axis) in _INTEGERS):
                result = result.copy() if result is array else result
                gone = (slice(None),) * axis + (~self.cut.mask(labels),)
                if is_float(array.dtype):
                    result[gone] = 1 if use.roles.get(axis) in _TO_ONE else 0
                else:
                    result[gone] = np.broadcast_to(self._zero_point(use, array.ndim), array.shape)[gone]
        return result

    def _zero_point(self, use: Use, rank: int) -> np.ndarray:
        """The integers that stand for zero, as they broadcast against the weights: two inputs further on, if any."""
        operator, slot = use.operator, use.slot + 2
        name = operator.inputs[slot] if slot < len(operator.inputs) else ""
        point = self.graph.constant(name) if name else None
        if point is None or point.ndim != 1 or point.size == 1:
            return np.zeros(()) if point is None else point.reshape(())
        lengths = [1] * rank
        lengths[operator.attribute("axis", 0 if "Conv" in operator.type else -1)] = -1
        return point.reshape(lengths)

    def _define(self, name: str, array: np.ndarray) -> None:
        producer = self.graph.producer(name)
        if producer is not None:
            self.graph.remove(producer)
        self.graph.set_initializer(name, array)
        if name not in self.graph.inputs:
            self.graph.header.ir_version = max(self.graph.header.ir_version, 4)


@dataclass(frozen=True, slots=True)
class _Holding:
    """Writes x·m + r before operators that sum over a cut axis."""

    coupling: Coupling
    graph: Graph
    cut: Cut

    def hold(self, operator: Operator, readings: list[Reading], values: Held) -> None:
        """Hold the removed channels of one operator's inputs."""
        self.graph.header.ir_version = max(self.graph.header.ir_version, 4)
        new = operator
        for reading in readings:
            mask = self.cut.mask(reading.labels)
            given = values.get((operator, reading.slot, reading.axis), np.zeros(len(mask)))
            constant = np.where(mask, 0, given)
            new = self._put(operator, new, "Mul", reading, mask)
            if constant.any():
                new = self._with_padding_written_out(operator, new) if reading.slot == 0 else new
                new = self._put(operator, new, "Add", reading, constant)
                new = self._renamed(new)
        self.graph.replace(operator, new)

    def _renamed(self, operator: Operator) -> Operator:
        """The operator; its output by another name where the pruned network may have the constants behind it only."""
        out, *others = operator.outputs
        users = self.graph.users(out)
        if len(users) != 1 or out in self.graph.outputs or not users[0].is_a("Add", "BatchNormalization"):
            return operator
        if all(self.graph.constant(name) is None for name in users[0].inputs):
            return operator
        name = self.graph.fresh_name(f"{out}.held")
        self.graph.redirect(out, name)
        return operator.with_(outputs=(name, *others))

    def _put(self, operator: Operator, now: Operator, kind: str, reading: Reading, along: np.ndarray) -> Operator:
        """Apply an operator along the axis that is read."""
        source = operator.inputs[reading.slot]
        shapes = self.coupling.traced.shapes
        shape = shapes.shape(source)
        assert shape is not None
        dtype = tensor_dtype_to_np_dtype(shapes.elem_type(source))
        lengths = [-1 if axis == reading.axis else 1 for axis in range(len(shape))]
        name = self.graph.fresh_name(f"{source}@{operator.label}")
        self.graph.set_initializer(f"{name}.{kind}", along.astype(dtype).reshape(lengths))
        self.graph.add(Operator(kind, (now.inputs[reading.slot], f"{name}.{kind}"), (name,), name=name), near=operator)
        return now.with_input(reading.slot, name)

    def _with_padding_written_out(self, operator: Operator, now: Operator) -> Operator:
        """A convolution that reads an input padded before it; any other operator as it is."""
        pads = self._pads(operator) if operator.is_a("Conv") else ()
        if not any(pads):
            return now
        half = len(pads) // 2
        every = (0, 0, *pads[:half], 0, 0, *pads[half:])
        name = self.graph.fresh_name(f"{now.inputs[0]}.padded")
        if self.graph.opset() < 11:
            pad = Operator("Pad", (now.inputs[0],), (name,), {"pads": every}, name)
        else:
            self.graph.set_initializer(f"{name}.pads", np.array(every, np.int64))
            pad = Operator("Pad", (now.inputs[0], f"{name}.pads"), (name,), {}, name)
        self.graph.add(pad, near=operator)
        return now.with_attributes(pads=(0,) * len(pads), auto_pad=None).with_input(0, name)

    def _pads(self, conv: Operator) -> tuple[int, ...]:
        """A convolution's padding, first all begins, then all ends."""
        auto = conv.attribute("auto_pad", "NOTSET")
        if auto in ("NOTSET", b"NOTSET"):
            return tuple(conv.attribute("pads", ()))
        if auto not in ("SAME_UPPER", "SAME_LOWER"):
            return ()
        totals = list(self._same_padding(conv))
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        return (*small, *large) if auto == "SAME_UPPER" else (*large, *small)

    def _same_padding(self, conv: Operator) -> Iterator[int]:
        """How much each image axis is padded in total, so that strides cover it."""
        shapes = self.coupling.traced.shapes
        image, kernel = shapes.shape(conv.inputs[0]), shapes.shape(conv.inputs[1])
        assert image is not None
        assert kernel is not None
        for axis, (size, taps) in enumerate(zip(image[2:], kernel[2:], strict=True)):
            stride = conv.attribute("strides", (1,) * len(image))[axis]
            reach = conv.attribute("dilations", (1,) * len(image))[axis] * (taps - 1) + 1
            yield max((-(-size // stride) - 1) * stride + reach - size, 0)
