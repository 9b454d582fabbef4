"""Rules for pools and resizes."""

from __future__ import annotations

from math import prod

import numpy as np

from pruneir.backends.x86.expressions import Place
from pruneir.backends.x86.pooling import GlobalPooling, pooling
from pruneir.backends.x86.resizing import COORDINATES, ROUNDING, Axis, Resizing, taps
from pruneir.backends.x86.window import behind, two, window
from pruneir.backends.x86.work import Phase, Setting, Work, output, rule
from pruneir.graph import Operator


@rule("MaxPool", "AveragePool")
def pool(operator: Operator, setting: Setting) -> Work | None:
    """Windows over one or two axes."""
    kernel_shape = tuple(operator.attribute("kernel_shape"))
    geometry = window(operator, setting, kernel_shape)
    if geometry is None:
        return None
    pb, pr = behind(geometry)
    if operator.attribute("auto_pad", "NOTSET") in ("NOTSET", ""):
        pb, pr = two(tuple(operator.attribute("pads") or (0,) * 2 * len(kernel_shape))[len(kernel_shape) :], 0)
    maximum = operator.is_a("MaxPool")
    padded = bool(operator.attribute("count_include_pad", 0))
    kernel = pooling(geometry, setting.cpu.lanes, maximum=maximum, padded=padded, pb=pb, pr=pr)
    return Work(operator.inputs[0], Place(output(operator, setting), 1), (Phase(kernel, "pool"),))


@rule("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax")
def whole(operator: Operator, setting: Setting) -> Work | None:
    """The mean or the maximum of each channel over all points, channels being the second axis or the last."""
    shape, out = setting.shape(operator), output(operator, setting)
    if shape is None or len(shape) < 3 or not prod(shape):
        return None
    if operator.is_a("ReduceMean", "ReduceMax"):
        given = operator.attribute("axes")
        axes = given if given is not None else setting.constant(operator, 1)
        summed = [] if axes is None else sorted(int(axis) % len(shape) for axis in axes)
        if summed == [*range(1, len(shape) - 1)]:
            kernel = GlobalPooling(shape[0], prod(shape[1:-1]), shape[-1], operator.is_a("ReduceMax"))
            return Work(operator.inputs[0], Place(out, len(out) - 1), (Phase(kernel, "pool"),), last=False)
        if summed != [*range(2, len(shape))]:
            return None
    maximum = operator.is_a("GlobalMaxPool", "ReduceMax")
    kernel = GlobalPooling(shape[0], prod(shape[2:]), shape[1], maximum)
    return Work(operator.inputs[0], Place(out, 1), (Phase(kernel, "pool"),))


@rule("Resize", "Upsample")
def resize(operator: Operator, setting: Setting) -> Work | None:
    """Rows and columns, nearest or linear."""
    shape, out = setting.shape(operator), output(operator, setting)
    if shape is None or len(shape) != 4 or shape[:2] != out[:2] or not prod(out):
        return None
    mode = operator.attribute("mode", "nearest")
    coordinates = operator.attribute("coordinate_transformation_mode", "half_pixel")
    nearest = operator.attribute("nearest_mode", "round_prefer_floor")
    if operator.is_a("Upsample") or setting.graph.opset() < 11:
        coordinates, nearest = "asymmetric", "floor"
    policy = operator.attribute("keep_aspect_ratio_policy", "stretch")
    plain = not operator.attribute("antialias") and policy == "stretch"
    if mode not in ("nearest", "linear") or coordinates not in COORDINATES or nearest not in ROUNDING or not plain:
        return None
    slots = range(1, len(operator.inputs))
    given = [v for v in (setting.constant(operator, slot) for slot in slots) if v is not None and v.size]
    scales = next((v for v in reversed(given) if v.dtype.kind == "f"), None)
    if scales is None:
        scales = np.asarray(operator.attribute("scales") or [])
    if scales.size == 2:
        scales = np.concatenate([[1, 1], scales])
    rows, columns = (
        taps(
            Axis(shape[axis], out[axis], float(scales[axis]) if scales.size == 4 else out[axis] / shape[axis]),
            coordinates,
            nearest if mode == "nearest" else "",
        )
        for axis in (2, 3)
    )
    kernel = Resizing(shape[0], shape[2], shape[3], shape[1], rows, columns, mode == "linear")
    return Work(operator.inputs[0], Place(out, 1), (Phase(kernel, "resize"),))
