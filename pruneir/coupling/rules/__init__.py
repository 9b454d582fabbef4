"""One small file per family of operators; importing this package fills the table of rules."""

from pruneir.coupling.rules import (
    attention,
    convolution,
    einsum,
    elementwise,
    expanding,
    linear,
    normalization,
    pooling,
    quantization,
    ranking,
    recurrent,
    reduction,
    reshaping,
    selecting,
)

__all__ = [
    "attention",
    "convolution",
    "einsum",
    "elementwise",
    "expanding",
    "linear",
    "normalization",
    "pooling",
    "quantization",
    "ranking",
    "recurrent",
    "reduction",
    "reshaping",
    "selecting",
]
