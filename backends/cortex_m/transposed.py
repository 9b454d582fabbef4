"""Transposed convolutions as convolutions whose output pixels lie among each other.

Without padding  y[i·s + k] ← Σ x[i] · w[k].  With k = t·s + r, for each remainder r by the stride s,

    y[j·s + r] = Σₜ x[j − t] · w[t·s + r],

which is a convolution whose kernel is turned round. All remainders are filters of one convolution; its channels are
then moved into rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from pruneir.backends.lowering.writer import Writer
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes, infer


def as_convolutions(graph: Graph) -> Graph:
    """The graph, or a copy with convolutions for transposed ones whose weights are constant."""
    found = [operator for operator in graph.operators if operator.is_a("ConvTranspose")]
    if not found:
        return graph
    shapes, whole = infer(graph), graph.copy()
    for operator in found:
        axes = _axes(operator, graph, shapes)
        if axes is not None:
            whole.replace(operator, *_written(Writer(whole, operator.label), operator, graph, shapes, axes))
    return whole


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the image.

    stride  pixels of the output for one of the input
    span    of the kernel, dilated
    taps    of the convolution
    pads    in front of the convolution's input, and behind
    count   its output pixels
    start   the first pixel of theirs, laid out in rows of `stride`, that is wanted
    """

    stride: int
    span: int
    taps: int
    pads: tuple[int, int]
    count: int
    start: int

    @classmethod
    def of(cls, size: int, out: int, stride: int, span: int, cut: int) -> _Axis:
        """The axis where `cut` pixels of the unpadded output in front are not wanted, and `out` behind these are."""
        taps = max(ceil(span / stride), ceil((cut + out) / stride) - size + 1)
        first = cut // stride
        count = (cut + out - 1) // stride - first + 1
        before = taps - 1 - first
        return cls(stride, span, taps, (before, count - size - before + taps - 1), count, cut - first * stride)


def _axes(operator: Operator, graph: Graph, shapes: Shapes) -> list[_Axis] | None:
    """The axes of its image; None where it stays as it is: what is not constant, and pads that cut whole rows."""
    shape, out = shapes.shape(operator.inputs[0]), shapes.shape(operator.outputs[0])
    constants = [graph.constant(name) for name in operator.inputs[1:] if name]
    if shape is None or out is None or any(each is None for each in constants):
        return None
    ones, zeros = (1,) * len(shape[2:]), (0,) * len(shape[2:])
    strides, dilations = (operator.attribute(name, ones) for name in ("strides", "dilations"))
    weights = constants[0]
    assert weights is not None
    spans = [(size - 1) * step + 1 for size, step in zip(weights.shape[2:], dilations, strict=True)]
    cuts = list(operator.attribute("pads", zeros + zeros)[: len(zeros)])
    kind = operator.attribute("auto_pad", "NOTSET")
    if kind in ("SAME_UPPER", "SAME_LOWER") or "output_shape" in operator.attributes:
        more = operator.attribute("output_padding", zeros)
        for axis, (size, stride) in enumerate(zip(shape[2:], strides, strict=True)):
            total = max(stride * (size - 1) + more[axis] + spans[axis] - out[2 + axis], 0)
            cuts[axis] = total // 2 if kind == "SAME_UPPER" else total - total // 2
    axes = [_Axis.of(*each) for each in zip(shape[2:], out[2:], strides, spans, cuts, strict=True)]
    return None if min(min(axis.pads) for axis in axes) < 0 else axes


def _written(writer: Writer, operator: Operator, graph: Graph, shapes: Shapes, axes: Sequence[_Axis]) -> list[Operator]:
    """The convolution, and what moves its channels."""
    out, groups, count = shapes.shape(operator.outputs[0]), operator.attribute("group", 1), len(axes)
    weights, bias, *_ = (*(graph.constant(name) for name in operator.inputs[1:]), None)
    assert out is not None
    assert weights is not None
    remainders, filters = prod(axis.stride for axis in axes), weights.shape[1]
    attributes = {"group": groups, "kernel_shape": tuple(axis.taps for axis in axes)}
    attributes["pads"] = (*(axis.pads[0] for axis in axes), *(axis.pads[1] for axis in axes))
    inputs = [operator.inputs[0], writer.constant(_turned(weights, groups, axes))]
    if bias is not None:
        repeated = np.broadcast_to(bias.reshape(groups, 1, filters), (groups, remainders, filters))
        inputs.append(writer.constant(repeated.reshape(-1)))
    made = writer.call("Conv", *inputs, name=operator.label, **attributes)
    sizes, strides = [axis.count for axis in axes], [axis.stride for axis in axes]
    made = writer.shaped(made, (out[0], groups, *strides, filters, *sizes))
    pairs = [place for axis in range(count) for place in (3 + count + axis, 2 + axis)]
    made = writer.call("Transpose", made, perm=(0, 1, 2 + count, *pairs))
    laid = (*out[:2], *(size * stride for size, stride in zip(sizes, strides, strict=True)))
    if laid == out:
        writer.shaped(made, out, to=operator.outputs[0])
    else:
        writer.part(writer.shaped(made, laid), (0, 0, *(axis.start for axis in axes)), out, to=operator.outputs[0])
    return writer.made


def _turned(weights: np.ndarray, groups: int, axes: Sequence[_Axis]) -> np.ndarray:
    """[channels, filters, k, …] as [groups · remainders · filters, channels of a group, taps, …], turned round."""
    channels, filters, *lengths = weights.shape
    wide = np.zeros((channels, filters, *(axis.taps * axis.stride for axis in axes)), weights.dtype)
    steps = [(axis.span - 1) // max(length - 1, 1) for axis, length in zip(axes, lengths, strict=True)]
    inside = [slice(0, axis.span, step or 1) for axis, step in zip(axes, steps, strict=True)]
    wide[(slice(None), slice(None), *inside)] = weights
    apart = wide.reshape(groups, channels // groups, filters, *(n for axis in axes for n in (axis.taps, axis.stride)))
    taps, remainders = [3 + 2 * axis for axis in range(len(axes))], [4 + 2 * axis for axis in range(len(axes))]
    turned = np.flip(apart, tuple(taps)).transpose(0, *remainders, 2, 1, *taps)
    return turned.reshape(-1, channels // groups, *(axis.taps for axis in axes))
