"""Convolutions: Conv and ConvTranspose over one, two or three spatial axes."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call, op
from pruneir.training.ops.windows import padded, window

_CONV = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@op("Conv")
def conv(call: Call, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """Padding that torch cannot express is put around x."""
    slide = window(call, x.shape[2:], w.shape[2:])
    pads: tuple[int, ...] = slide.before
    if not slide.is_even:
        x, pads = padded(x, slide.before, slide.behind), (0,) * len(pads)
    return _CONV[x.dim() - 3](x, w, b, slide.strides, pads, slide.dilations, call.attribute("group", 1))


@op("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """The full result, then cropped by the padding and extended by the output padding."""
    sizes, kernel = x.shape[2:], w.shape[2:]
    rank = len(sizes)
    strides = tuple(call.attribute("strides", (1,) * rank))
    dilations = tuple(call.attribute("dilations", (1,) * rank))
    extra = tuple(call.attribute("output_padding", (0,) * rank))
    full = [s * (n - 1) + d * (k - 1) + 1 for n, s, d, k in zip(sizes, strides, dilations, kernel, strict=True)]
    before, behind = _crops(call, sizes, strides, [f + e for f, e in zip(full, extra, strict=True)])
    y = _TRANSPOSED[rank - 1](x, w, None, strides, 0, 0, call.attribute("group", 1), dilations)
    y = padded(y, [-n for n in before], [e - n for e, n in zip(extra, behind, strict=True)])
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def _crops(
    call: Call, sizes: tuple[int, ...], strides: tuple[int, ...], full: list[int]
) -> tuple[list[int], list[int]]:
    """What is cut off before and behind, from `pads`, `output_shape` or `auto_pad`."""
    rank = len(sizes)
    kind, shape = call.attribute("auto_pad", "NOTSET"), call.attribute("output_shape")
    if shape is None and kind in ("NOTSET", "", "VALID"):
        pads = list(call.attribute("pads", (0,) * 2 * rank)) if kind != "VALID" else [0] * 2 * rank
        return pads[:rank], pads[rank:]
    wanted = list(shape)[-rank:] if shape is not None else [n * s for n, s in zip(sizes, strides, strict=True)]
    total = [f - n for f, n in zip(full, wanted, strict=True)]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return (less, more) if kind == "SAME_UPPER" else (more, less)
