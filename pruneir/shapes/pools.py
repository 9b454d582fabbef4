"""Windows of a pool with `ceil_mode`: one that would begin behind the image, in its padding, is none.

The standard says so, and runtimes do; onnx's inference counts it.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from pruneir.graph import Operator
from pruneir.graph.graph import tensor_type

_POOLS = ("AveragePool", "LpPool", "MaxPool")


def without_padded_windows(
    operator: Operator, known: Mapping[str, onnx.TypeProto], found: dict[str, onnx.TypeProto]
) -> dict[str, onnx.TypeProto]:
    """The types `found` of an operator's outputs, with windows that begin behind its image taken off."""
    if not (operator.is_a(*_POOLS) and operator.attribute("ceil_mode")):
        return found
    image = tensor_type(known[operator.inputs[0]]).shape or ()
    for proto in found.values():
        for axis, size in enumerate(image[2:]):
            windows = proto.tensor_type.shape.dim[2 + axis]
            if isinstance(size, int) and windows.HasField("dim_value"):
                begin = (windows.dim_value - 1) * _at(operator, "strides", axis, 1) - _at(operator, "pads", axis, 0)
                windows.dim_value -= int(begin >= size)
    return found


def _at(operator: Operator, name: str, axis: int, default: int) -> int:
    found = operator.attribute(name)
    return int(found[axis]) if found else default
