"""How far apart two graphs that compute the same may be.

In float32 equal means max|a − b| ≤ 1e-5·max|b| + 1e-6: ten times the noise measured between equivalent graphs. In a
network with coarser constants, inputs or outputs the factor is 8 ε of the coarsest of these types (float16: 7.8e-3,
bfloat16: 6.3e-2), and the floor a tenth of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.graph import Graph


@dataclass(frozen=True, slots=True)
class Tolerance:
    """max|a − b| ≤ relative·max|b| + absolute."""

    relative: float = 1e-5
    absolute: float = 1e-6

    def allows(self, difference: float, scale: float) -> bool:
        """Whether values of this scale that are this far apart are equal; never if they are all zero."""
        return scale > 0 and difference <= self.relative * scale + self.absolute


def tolerance_of(graph: Graph) -> Tolerance:
    """The tolerance for the element types that a graph computes in."""
    kinds = [known.elem_type for name in (*graph.inputs, *graph.outputs) if (known := graph.type_of(name)) is not None]
    dtypes = {tensor_dtype_to_np_dtype(kind) for kind in kinds if kind}
    for name in graph.values:
        array = graph.constant(name)
        if array is not None and array.size > 1:
            dtypes.add(array.dtype)
    coarsest = max((epsilon(dtype) for dtype in dtypes), default=0.0)
    relative = max(1e-5, 8 * coarsest)
    return Tolerance(relative, relative / 10)


def is_float(dtype: np.dtype) -> bool:
    """Whether arrays of a type hold real numbers: numpy's floats, bfloat16 and the narrow ones."""
    return epsilon(dtype) > 0


def epsilon(dtype: np.dtype) -> float:
    """The distance from 1 to the next number of a floating type; 0 for every other type."""
    if dtype.kind in "biucOSU":
        return 0.0
    try:
        return float(ml_dtypes.finfo(dtype).eps)
    except ValueError:
        return 0.0
