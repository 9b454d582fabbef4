"""What stands beside a linear operator's product: bias, a constant added behind, the running mean of a norm behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.calibrate.linear import Matrix, matrix_of
from pruneir.constants import bias_of, carrier
from pruneir.graph import Graph, Operator
from pruneir.pipeline.passes import Uncut
from pruneir.repair.sites import Site


@dataclass(frozen=True, slots=True)
class Offsets:
    """Of a pruned network against the uncut one."""

    graph: Graph
    uncut: Uncut

    def of(self, site: Site) -> np.ndarray:
        """What is added to the product before it is compared with the target, `[channels]`.

        The running mean of a norm behind counts by how far it is from that of the uncut network.
        """
        operator = self.graph.producer(site.value)
        assert operator is not None
        channels = len(site.kept)
        return np.asarray(_beside(self.graph, operator, channels) + self._norm_shift(operator, channels))

    def absorbed(self, site: Site) -> np.ndarray:
        """What was added since the uncut network, `[channels]`."""
        before = self.uncut.graph.producer(site.value)
        assert before is not None
        matrix = matrix_of(self.uncut.graph, before)
        assert isinstance(matrix, Matrix)
        return np.asarray(self.of(site) - _beside(self.uncut.graph, before, matrix.channels)[site.kept])

    def _norm_shift(self, operator: Operator, channels: int) -> np.ndarray | float:
        """The uncut running mean less that of now."""
        found = carrier(self.graph, operator, channels)
        if found is None or not found.operator.is_a("BatchNormalization"):
            return 0.0
        norm = found.operator
        before = self.uncut.graph.producer(norm.outputs[0])
        if before is None or not before.is_a("BatchNormalization"):
            return 0.0
        was, now = self.uncut.graph.constant(before.inputs[3]), self.graph.constant(norm.inputs[3])
        positions = self.uncut.kept().get(norm.outputs[0], {}).get(1)
        if was is None or now is None:
            return 0.0
        was = was if positions is None else was[positions]
        return was.astype(np.float64) - now if was.shape == now.shape else 0.0


def _beside(graph: Graph, operator: Operator, channels: int) -> np.ndarray:
    """Bias and constant added behind, `[channels]`."""
    bias = bias_of(graph, operator, channels)
    offset = np.zeros(channels) if bias is None else bias.copy()
    found = carrier(graph, operator, channels)
    if found is not None and found.operator.is_a("Add"):
        added = graph.constant(found.operator.inputs[found.slot])
        assert added is not None
        offset += added.astype(np.float64).reshape(-1)
    return offset
