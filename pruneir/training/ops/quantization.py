"""Quantization in front of the float arithmetic: rounded in the run, straight through in the gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from pruneir.training.ops.call import Call, op

_BOUNDS = {torch.int8: (-128, 127), torch.uint8: (0, 255), torch.int16: (-32768, 32767), torch.int64: (0, 65535)}


@op("QuantizeLinear", refuse=lambda call: "blocks are not supported" if call.attribute("block_size", 0) else None)
def quantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """round(x / scale) + zero point within the type's bounds, held as a float whose gradient is that of x / scale."""
    low, high = _BOUNDS[zero.dtype if zero is not None else torch.uint8]
    shift = 0 if zero is None else _along(call, zero, x).to(x.dtype)
    exact = x / _along(call, scale, x) + shift
    held = torch.clamp(exact, low, high)
    return held + (torch.clamp(torch.round(exact - shift) + shift, low, high) - held).detach()


@op("DequantizeLinear", refuse=lambda call: "blocks are not supported" if call.attribute("block_size", 0) else None)
def dequantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """(x − zero point)·scale."""
    wide = x.to(scale.dtype)
    shifted = wide if zero is None else wide - _along(call, zero, x).to(scale.dtype)
    return shifted * _along(call, scale, x)


def _along(call: Call, parameter: Tensor, x: Tensor) -> Tensor:
    """One number for all, or one per position of an axis."""
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * x.dim()
    shape[call.attribute("axis", 1)] = -1
    return parameter.reshape(shape)
