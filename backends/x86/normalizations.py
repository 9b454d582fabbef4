"""Rules for what goes along rows: softmax and layer normalization."""

from __future__ import annotations

from math import prod

import numpy as np

from pruneir.backends.x86.expressions import Place
from pruneir.backends.x86.rows import Normalizing, Softmax
from pruneir.backends.x86.work import Phase, Setting, Work, given, rule
from pruneir.graph import Operator


@rule("Softmax", "LogSoftmax")
def softmax(operator: Operator, setting: Setting) -> Work | None:
    """Over the last axis, or over channels."""
    shape = setting.shape(operator)
    if shape is None or not shape or not prod(shape):
        return None
    recent = setting.graph.opset() >= 13
    axis = operator.attribute("axis", -1 if recent else 1) % len(shape)
    if not recent and prod(shape[axis + 1 :]) != 1:  # over all axes from this one on
        return None
    behind = axis == len(shape) - 1
    if not behind and (axis != 1 or len(shape) < 3):
        return None
    place = Place(shape, axis)
    kernel = Softmax(prod(shape) // shape[axis], shape[axis], setting.cpu.lanes, operator.is_a("LogSoftmax"))
    return Work(operator.inputs[0], place, (Phase(kernel, "softmax"),), last=place.last)


@rule("LayerNormalization")
def layer_normalization(operator: Operator, setting: Setting) -> Work | None:
    """Over the last axis, with constant scale and shift."""
    shape, scale, shift = setting.shape(operator), setting.constant(operator, 1), setting.constant(operator, 2)
    if shape is None or scale is None or (shift is None and given(operator, 2)) or not prod(shape):
        return None
    if operator.attribute("axis", -1) % len(shape) != len(shape) - 1 or scale.size != shape[-1]:
        return None
    kernel = Normalizing(prod(shape[:-1]), shape[-1], setting.cpu.lanes, float(operator.attribute("epsilon", 1e-5)))
    added = np.zeros_like(scale) if shift is None else shift
    phase = Phase(kernel, "normalize", lambda: kernel.packed(scale, added))
    return Work(operator.inputs[0], Place(shape, len(shape) - 1), (phase,), last=False)
