"""Multiply-accumulates both of whose operands are not zero, counted on data.

How many there are follows from where zeros are: Σ [x ≠ 0]·[w ≠ 0] over all products of a layer is the sum of what the
very same operator gives for indicators in place of its operands, summed over its outputs. Zero padding counts as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.onnx_io import evaluate
from pruneir.sparsity.weights import Weight, weights

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class LayerMacs:
    """The multiply-accumulates of one layer for one sample, as a mean over samples.

    layer    label of the operator
    dense    all, padding included
    weights  those whose weight is not zero
    both     those whose input is not zero either
    inputs   share of the elements it reads that are not zero
    """

    layer: str
    dense: float
    weights: float
    both: float
    inputs: float


@dataclass(frozen=True, slots=True)
class OperandMacs:
    """The same for all layers with constant weights."""

    layers: tuple[LayerMacs, ...]
    samples: int

    @property
    def dense(self) -> float:
        """All multiply-accumulates a sample."""
        return sum(layer.dense for layer in self.layers)

    @property
    def weights(self) -> float:
        """The share of them whose weight is not zero."""
        return sum(layer.weights for layer in self.layers) / max(self.dense, 1)

    @property
    def both(self) -> float:
        """The share of them of which neither operand is zero."""
        return sum(layer.both for layer in self.layers) / max(self.dense, 1)


def operand_macs(graph: Graph, batches: Iterable[Feeds]) -> OperandMacs:
    """Count over batches of feeds, every sample alike. PruneirError if there is none."""
    layers = [(weight, *use) for weight in weights(graph) for use in weight.uses]
    order = {operator: index for index, operator in enumerate(graph.operators)}
    layers.sort(key=lambda layer: order[layer[1]])
    counting = graph.copy()
    counted = [_counting(counting, *layer) for layer in layers]
    names = [name for counts in counted for name in counts]
    sums, samples = np.zeros((len(layers), 3)), 0
    for size, values in _evaluated(counting, names, batches):
        samples += size
        for index, ((weight, operator, _), counts) in enumerate(zip(layers, counted, strict=True)):
            count, share, read, made = (values[name] for name in counts)
            dense = _dense(weight, operator, read.tolist(), made.tolist())
            sums[index] += (dense, count.sum(dtype=np.float64), size * float(share.reshape(())))
    if not samples:
        raise PruneirError("there are no samples to count multiply-accumulates on")
    return OperandMacs(
        tuple(
            LayerMacs(operator.label, dense, dense * weight.nonzero / weight.array.size, both, inputs)
            for (weight, operator, _), (dense, both, inputs) in zip(layers, sums / samples, strict=True)
        ),
        samples,
    )


def _evaluated(graph: Graph, names: list[str], batches: Iterable[Feeds]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The size of each batch, and the named values."""
    sizes: list[int] = []

    def fed() -> Iterator[Feeds]:
        for feeds in batches:
            sizes.append(len(next(iter(feeds.values()))))
            yield feeds

    for values in evaluate(graph, names, fed()):
        yield sizes.pop(0), values


def _counting(graph: Graph, weight: Weight, operator: Operator, slot: int) -> tuple[str, str, str, str]:
    """Add the operator on indicators to a graph.

    Values that hold the counts, the share of inputs that are not zero, the shapes of what it reads and what it makes.
    """

    def make(kind: str, what: str, *inputs: str, **attributes: object) -> str:
        name = graph.fresh_name(f"{operator.label}.{what}")
        graph.add(Operator(kind, inputs, (name,), attributes, name=name))
        return name

    read = operator.inputs[1 - slot]
    there = make("Cast", "there", make("Cast", "nonzero", read, to=onnx.TensorProto.BOOL), to=onnx.TensorProto.FLOAT)
    kernel, count = graph.fresh_name(f"{operator.label}.kernel"), graph.fresh_name(f"{operator.label}.count")
    graph.define(kernel, _outputs_summed(weight, operator))
    given: tuple[str, ...] = (kernel, there) if slot == 0 else (there, kernel)
    if operator.is_a("Gemm"):  # before opset 11 it must have a third input
        none = graph.define(graph.fresh_name(f"{operator.label}.none"), np.zeros(1, np.float32))
        given = (*given, none)
    counting = operator.with_(inputs=given, outputs=(count,), name=count).with_attributes(alpha=None, beta=None)
    graph.add(counting)
    share = make("ReduceMean", "share", there, keepdims=0)
    return count, share, make("Shape", "read", read), make("Shape", "made", operator.outputs[0])


def _outputs_summed(weight: Weight, operator: Operator) -> np.ndarray:
    """How many of the weights that an input element meets are not zero: `weight.array` with one output (a group)."""
    there = (weight.array != 0).astype(np.float32)
    groups = operator.attribute("group", 1)
    if operator.is_a("Conv"):
        there = there.reshape(groups, -1, *there.shape[1:])
        return np.asarray(there.sum(axis=1))
    return np.asarray(there.sum(axis=weight.output_axis, keepdims=True))


def _dense(weight: Weight, operator: Operator, read: Sequence[int], made: Sequence[int]) -> int:
    kernel = prod(weight.array.shape[1:])
    if operator.is_a("Conv"):
        return prod(made) * kernel
    if operator.is_a("ConvTranspose"):
        return prod(read) * kernel
    return prod(made) * int(weight.array.shape[weight.input_axis])
