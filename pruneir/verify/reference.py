"""The uncut networks that a pruned one must equal.

`masked`: the network with the removed slices of its float constants set to zero, on the producer's and on the
consumer's side (of quantized weights: to their zero point); a constant that divides, is a variance or an exponent is
set to one there. What a removed channel is without absorption: nothing, to anything that reads it.

`held`: the network with each removed channel held at a constant r wherever an operator sums over it, x·m + r with the
mask m (integers: at their zero point). What a removed channel is with absorption: r, which consumers' biases can take
in. A convolution's zero padding reads r there too, since a bias knows no border; the difference that true padding makes
is drift.

Positions of shared labels die alike, so nothing else has to be masked: every removed position ends in one of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.coupling import Coupling, Cut, Use
from pruneir.coupling.rule import Reading
from pruneir.graph import Graph, Operator
from pruneir.tolerance import is_float
from pruneir.verify.drift import Kept
from pruneir.verify.masking import Masking, without
from pruneir.verify.statistics import over_kept

Held = Mapping[tuple[Operator, int, int], np.ndarray]
"""The constants that removed channels are held at: an array as long as the axis, by operator, input slot and axis."""


def masked(coupling: Coupling, dead: np.ndarray) -> Graph:
    """The network with everything that a cut removes set to zero.

    dead  `[generators]`, as for the cut

    Of uses of one constant that lose different positions, all but the last read a copy, `NAME@NODE`.
    """
    cut = coupling.cut(dead)
    return over_kept(coupling, cut, without(coupling, partial(_gone, cut)))


def held(coupling: Coupling, dead: np.ndarray, values: Held) -> Graph:
    """The network with every removed channel held at a constant where it is summed over; at zero where none is given.

    Padding that depends on the image's size (`auto_pad`) is written out for the sizes that the coupling was traced at.
    """
    cut = coupling.cut(dead)
    masking = Masking(coupling.graph.copy(), partial(_gone, cut))
    for use in coupling.traced.uses:
        if "recurrent" in use.roles.values():  # what an operator sums over inside of itself
            masking.mask(use.name, [use])
    holding = _Holding(coupling, masking.graph, cut)
    by_operator: dict[Operator, list[Reading]] = defaultdict(list)
    for reading in coupling.traced.readings:
        if cut.touches(reading.labels):
            by_operator[reading.operator].append(reading)
    for operator, readings in by_operator.items():
        holding.hold(operator, readings, values)
    return over_kept(coupling, cut, holding.graph)


def kept_positions(coupling: Coupling, dead: np.ndarray) -> Kept:
    """Which positions of every activation a cut leaves, by value and axis, where it removes any."""
    cut = coupling.cut(dead)
    found: dict[str, dict[int, np.ndarray]] = {}
    for name, state in coupling.traced.values.items():
        for axis, labels in enumerate(state.labels):
            if labels is not None and cut.touches(labels):
                found.setdefault(name, {})[axis] = cut.kept(labels)
    return found


def _gone(cut: Cut, use: Use) -> dict[int, np.ndarray]:
    """The positions that a cut takes from a constant, as one use of it has them."""
    return {axis: ~cut.mask(labels) for axis, labels in enumerate(use.labels) if cut.touches(labels)}


@dataclass(frozen=True, slots=True)
class _Holding:
    """Writes x·m + r before operators that sum over a cut axis."""

    coupling: Coupling
    graph: Graph
    cut: Cut

    def hold(self, operator: Operator, readings: list[Reading], values: Held) -> None:
        """Hold the removed channels of one operator's inputs."""
        new = operator
        for reading in readings:
            mask = self.cut.mask(reading.labels)
            given = values.get((operator, reading.slot, reading.axis), np.zeros(len(mask)))
            constant = np.where(mask, 0, given)
            if not is_float(self._dtype(operator, reading)):
                new = self._put_zero_point(operator, new, reading, mask)
                continue
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
        name = self.graph.fresh_name(f"{operator.inputs[reading.slot]}@{operator.label}")
        along = along.astype(self._dtype(operator, reading))
        self.graph.define(f"{name}.{kind}", self._facing(operator, reading, along))
        self.graph.add(Operator(kind, (now.inputs[reading.slot], f"{name}.{kind}"), (name,), name=name), near=operator)
        return now.with_input(reading.slot, name)

    def _put_zero_point(self, operator: Operator, now: Operator, reading: Reading, mask: np.ndarray) -> Operator:
        """Let integers that go be their zero point: two inputs further on, if any."""
        name = self.graph.fresh_name(f"{operator.inputs[reading.slot]}@{operator.label}")
        self.graph.define(f"{name}.mask", self._facing(operator, reading, mask))
        (point,) = operator.inputs[reading.slot + 2 : reading.slot + 3] or ("",)
        if not point:
            point = f"{name}.zero"
            self.graph.define(point, np.zeros((), self._dtype(operator, reading)))
        inputs = (f"{name}.mask", now.inputs[reading.slot], point)
        self.graph.add(Operator("Where", inputs, (name,), name=name), near=operator)
        return now.with_input(reading.slot, name)

    def _facing(self, operator: Operator, reading: Reading, entries: np.ndarray) -> np.ndarray:
        """A constant that broadcasts along the axis that is read."""
        shape = self.coupling.traced.shapes.shape(operator.inputs[reading.slot])
        assert shape is not None
        return entries.reshape([-1 if axis == reading.axis else 1 for axis in range(len(shape))])

    def _dtype(self, operator: Operator, reading: Reading) -> np.dtype:
        return tensor_dtype_to_np_dtype(self.coupling.traced.shapes.elem_type(operator.inputs[reading.slot]))

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
            self.graph.define(f"{name}.pads", np.array(every, np.int64))
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
