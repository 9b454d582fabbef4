"""The linear operators that read a group's channels: what a channel is worth shows in what they make of it.

Between the group's producers and these there may be anything that keeps channels apart: activations, poolings,
concatenations, shuffles. The positions on a reader's own axis tell which channel comes in where.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruneir.calibrate import Matrix, Statistics, channel_statistics, matrix_of
from pruneir.coupling import Coupling, Group
from pruneir.data import Data
from pruneir.graph import Operator
from pruneir.progress import Progress, silent


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """One linear operator that reads channels of a group.

    array    its weights, as they are stored
    channel  `[groups, inputs]`: the channel that comes in there, −1 where it is none of the group's
    """

    operator: Operator
    array: np.ndarray
    channel: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """`[groups, outputs, inputs, taps]`, in double precision."""
        flat = Matrix(self.operator, self.array.shape).of(self.array)
        return flat.reshape(*flat.shape[:2], self.channel.shape[1], -1)

    @property
    def output_axis(self) -> int:
        """The axis of the operator's output that its outputs are on."""
        return 1 if self.operator.is_a("Conv", "ConvTranspose") else -1

    @property
    def input_axis(self) -> int:
        """The axis of the operator's first input that it sums over."""
        if self.operator.is_a("Conv", "ConvTranspose"):
            return 1
        return 0 if self.operator.is_a("Gemm") and self.operator.attribute("transA", 0) else -1

    def per_channel(self, numbers: np.ndarray, channels: int) -> np.ndarray:
        """Numbers `[groups, inputs]` added up for each channel of the group."""
        inside = self.channel >= 0
        return np.bincount(self.channel[inside], weights=numbers[inside], minlength=channels)


def readers(coupling: Coupling, group: Group) -> list[Reader]:
    """The readers of a group whose weights are constant, in file order."""
    graph, found = coupling.graph, []
    for member in group.members:
        if member.role == "in" and member.use.slot == 1 and isinstance(matrix_of(graph, member.operator), Matrix):
            array = graph.constant(member.use.name)
            assert array is not None
            blocks = member.operator.attribute("group", 1)
            inputs = len(member.channel) // (blocks if member.operator.is_a("ConvTranspose") else 1)
            channel = np.broadcast_to(member.channel.reshape(-1, inputs), (blocks, inputs))
            found.append(Reader(member.operator, array, channel))
    return found


def around(
    coupling: Coupling, read: Sequence[Reader], data: Data, limit: int | None = None, progress: Progress = silent
) -> tuple[dict[Reader, Statistics], dict[Reader, Statistics]]:
    """The statistics of all channels that come into each reader, and of those that it makes."""
    places = {reader: ((reader.operator.inputs[0], reader.input_axis), _output(reader)) for reader in read}
    names: dict[int, list[str]] = defaultdict(list)
    for name, axis in (place for both in places.values() for place in both):
        names[axis].append(name)
    seen = {
        axis: channel_statistics(coupling.graph, some, data, limit=limit, axis=axis, progress=progress)
        for axis, some in names.items()
    }
    given = {reader: seen[axis][name] for reader, ((name, axis), _) in places.items()}
    return given, {reader: seen[axis][name] for reader, (_, (name, axis)) in places.items()}


def _output(reader: Reader) -> tuple[str, int]:
    return reader.operator.outputs[0], reader.output_axis
