"""Torch functions of the ONNX operators, a family a file."""

from pruneir.training.ops import (  # noqa: F401 - importing a family registers its operators
    attention,
    control,
    convolution,
    elementwise,
    indexing,
    normalization,
    pooling,
    products,
    quantization,
    recurrent,
    reductions,
    resizing,
    shapes,
)
from pruneir.training.ops.call import Call, Function, Mode, entry_of, op, together

__all__ = ["Call", "Function", "Mode", "entry_of", "op", "together"]
