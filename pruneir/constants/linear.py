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
    bias     `[groups · out]` or None
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
    weights = [graph.constant(name) if name else None for name in operator.inputs]
    if operator.is_a("Conv") and weights[1] is not None:
        groups = operator.attribute("group", 1)
        return Linear(_taps(weights[1], groups), _bias(weights, 2))
    if operator.is_a("ConvTranspose") and weights[1] is not None:
        groups = operator.attribute("group", 1)
        w = weights[1]
        moved = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).transpose(0, 3, 2, 1)
        stride = int(np.prod(operator.attribute("strides", (1,))))
        return Linear(moved / stride, _bias(weights, 2), exact=False)
    if operator.is_a("Gemm") and weights[1] is not None and not operator.attribute("transA", 0):
        matrix = weights[1] if operator.attribute("transB", 0) else weights[1].T
        bias = _bias(weights, 2)
        scaled = bias * operator.attribute("beta", 1.0) if bias is not None else None
        return Linear(matrix[None, None] * operator.attribute("alpha", 1.0), scaled)
    if operator.is_a("MatMul") and weights[1] is not None and weights[1].ndim == 2:
        return Linear(weights[1].T[None, None], None)
    return None


def _taps(w: np.ndarray, groups: int) -> np.ndarray:
    return w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).transpose(0, 3, 1, 2)


def _bias(inputs: list[np.ndarray | None], slot: int) -> np.ndarray | None:
    bias = inputs[slot] if slot < len(inputs) else None
    return bias.reshape(-1) if bias is not None and bias.size == max(bias.shape, default=1) else None
