"""Convolutions and matrix products as one matrix per group: what a constant input adds to each output.

Where every tap of a kernel sees the same value r_c of channel c, output o gains Σ_c r_c · Σ_taps W[o, c, tap].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.graph import Graph, Operator


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear operator on channel constants.

    weights  `[groups, taps, out, in]`
    bias     `[groups · out]`, zero where there is none; None where it is no constant, or not the same along other axes
    slot     input that the channels come in by
    exact    whether constant channels in give constant channels out, borders aside
    """

    weights: np.ndarray
    bias: np.ndarray | None
    slot: int = 0
    exact: bool = True

    def of(self, inputs: np.ndarray) -> np.ndarray:
        """What constant channels `[in]` add to each output `[out]`, without the bias."""
        groups, _, _, width = self.weights.shape
        summed = np.einsum("gtoi->goi", self.weights, dtype=np.float64)
        return np.asarray(np.einsum("goi,gi->go", summed, inputs.reshape(groups, width))).reshape(-1)

    def of_variance(self, inputs: np.ndarray) -> np.ndarray:
        """The variance of each output, for independent inputs and taps."""
        groups, _, _, width = self.weights.shape
        summed = np.einsum("gtoi,gtoi->goi", self.weights, self.weights, dtype=np.float64)
        return np.asarray(np.einsum("goi,gi->go", summed, inputs.reshape(groups, width))).reshape(-1)


def linear(graph: Graph, operator: Operator) -> Linear | None:
    """The operator's matrix, if its weights are constant and its channels come in by one input; None otherwise."""
    w = graph.constant(operator.inputs[1]) if operator.is_a("Conv", "ConvTranspose", "Gemm", "MatMul") else None
    if w is None:
        return None
    groups = operator.attribute("group", 1)
    if operator.is_a("Conv"):
        return Linear(_taps(w, groups), bias_of(graph, operator, len(w)))
    if operator.is_a("ConvTranspose"):
        moved = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).transpose(0, 3, 2, 1)
        stride = int(np.prod(operator.attribute("strides", (1,))))
        return Linear(moved / stride, bias_of(graph, operator, groups * w.shape[1]), exact=False)
    if operator.is_a("Gemm") and not operator.attribute("transA", 0):
        matrix = w if operator.attribute("transB", 0) else w.T
        return Linear(matrix[None, None] * operator.attribute("alpha", 1.0), bias_of(graph, operator, len(matrix)))
    if operator.is_a("MatMul") and w.ndim == 2:
        return Linear(w.T[None, None], np.zeros(w.shape[1]))
    return None


def bias_of(graph: Graph, operator: Operator, channels: int) -> np.ndarray | None:
    """What a linear operator adds to its outputs by its third input, `[channels]`; None where that is no vector."""
    name = operator.inputs[2] if len(operator.inputs) > 2 else ""
    if not name:
        return np.zeros(channels)
    bias = graph.constant(name)
    if bias is None or bias.size != max(bias.shape[-1:], default=1) or bias.size not in (1, channels):
        return None
    beta = operator.attribute("beta", 1.0) if operator.is_a("Gemm") else 1.0
    return np.broadcast_to(beta * bias.astype(np.float64).reshape(-1), (channels,))


def _taps(w: np.ndarray, groups: int) -> np.ndarray:
    return w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).transpose(0, 3, 1, 2)
