"""Normalisation: by running statistics, by those of the image, of a group or of the last axes; and Softmax."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call, op


@op("BatchNormalization")
def batch_norm(call: Call, x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, ...]:
    """By the batch in training, where mean and var move by 1 − momentum; by these otherwise, or for a single value."""
    if call.attribute("spatial", 1) == 0 and scale.dim() > 1:
        shape = x.shape
        flat = x.reshape(shape[0], -1)
        y = _batch_norm(call, flat, *(part.reshape(-1) for part in (scale, b, mean, var)))
        return y.reshape(shape), mean, var
    return _batch_norm(call, x, scale, b, mean, var), mean, var


def _batch_norm(call: Call, x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """The statistics move in copies, so that what autograd has seen of them stays as it was."""
    keep, epsilon = call.attribute("momentum", 0.9), call.attribute("epsilon", 1e-5)
    single = x.numel() == x.shape[1]  # has no variance
    if not call.mode.training or call.mode.frozen or single:
        return F.batch_norm(x, mean, var, scale, b, False, 0.0, epsilon)
    moved = mean.detach().clone(), var.detach().clone()
    weight = scale if scale.requires_grad else scale.clone()
    y = F.batch_norm(x, *moved, weight, b, True, max(1 - keep, call.mode.renewal), epsilon)
    with torch.no_grad():
        for statistic, new in zip((mean, var), moved, strict=True):
            if not statistic.requires_grad:
                statistic.copy_(new)
    return y


@op("InstanceNormalization")
def instance_norm(call: Call, x: Tensor, scale: Tensor, b: Tensor) -> Tensor:
    """By the image of a channel."""
    return F.group_norm(x, x.shape[1], scale, b, call.attribute("epsilon", 1e-5))


@op("GroupNormalization")
def group_norm(call: Call, x: Tensor, scale: Tensor, b: Tensor) -> Tensor:
    """By groups of channels; until opset 20 scale and bias are one number a group."""
    groups = call.attribute("num_groups")
    if scale.shape[0] != x.shape[1]:
        scale, b = (part.repeat_interleave(x.shape[1] // groups) for part in (scale, b))
    return F.group_norm(x, groups, scale, b, call.attribute("epsilon", 1e-5))


@op("LayerNormalization")
def layer_norm(call: Call, x: Tensor, scale: Tensor, b: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
    """By the axes from `axis` on; the further outputs are the mean and 1 / deviation."""
    axes = _last_axes(call, x)
    epsilon = call.attribute("epsilon", 1e-5)
    if not call.wants(1) and not call.wants(2):
        shape = x.shape[axes[0] :]
        if scale.shape == shape and (b is None or b.shape == shape):
            return F.layer_norm(x, shape, scale, b, epsilon)
    mean = x.mean(axes, keepdim=True)
    inverse = torch.rsqrt((x - mean).square().mean(axes, keepdim=True) + epsilon)
    y = (x - mean) * inverse * scale
    return (y if b is None else y + b), mean, inverse


@op("RMSNormalization")
@op("SimplifiedLayerNormalization")
@op("SimplifiedLayerNormalization", domain="com.microsoft")
def rms_norm(call: Call, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """By the root mean square over the axes from `axis` on."""
    inverse = torch.rsqrt(x.square().mean(_last_axes(call, x), keepdim=True) + call.attribute("epsilon", 1e-5))
    return x * inverse * scale, inverse


@op("MeanVarianceNormalization")
def mean_variance_norm(call: Call, x: Tensor) -> Tensor:
    """By mean and deviation over the axes, the deviation kept from zero by 1e-9."""
    axes = tuple(call.attribute("axes", (0, 2, 3)))
    mean = x.mean(axes, keepdim=True)
    deviation = torch.sqrt((x * x).mean(axes, keepdim=True) - mean * mean)
    return (x - mean) / (deviation + 1e-9)


@op("LpNormalization")
def lp_norm(call: Call, x: Tensor) -> Tensor:
    """By the p-norm along an axis; zeros stay zeros."""
    norm = torch.linalg.vector_norm(x, call.attribute("p", 2), call.attribute("axis", -1), keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


@op("LRN")
def lrn(call: Call, x: Tensor) -> Tensor:
    """By the squares of neighbouring channels."""
    size = call.attribute("size")
    squares = F.pad(x.square().movedim(1, -1), ((size - 1) // 2, size // 2))
    near = squares.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    scale = call.attribute("bias", 1.0) + call.attribute("alpha", 1e-4) / size * near
    return x / scale ** call.attribute("beta", 0.75)


@op("Softmax")
def softmax(call: Call, x: Tensor) -> Tensor:
    """Along an axis; before opset 13 over all axes from it on."""
    return _over(call, x, F.softmax)


@op("LogSoftmax")
def log_softmax(call: Call, x: Tensor) -> Tensor:
    """The logarithm of Softmax."""
    return _over(call, x, F.log_softmax)


@op("Hardmax")
def hardmax(call: Call, x: Tensor) -> Tensor:
    """One at the first maximum, zero elsewhere."""
    return _over(call, x, lambda t, axis: torch.zeros_like(t).scatter_(axis, t.argmax(axis, keepdim=True), 1.0))


def _over(call: Call, x: Tensor, function: object) -> Tensor:
    assert callable(function)
    if call.opset >= 13:
        return function(x, call.attribute("axis", -1))
    axis = call.attribute("axis", 1) % max(1, x.dim())
    rows = prod(x.shape[:axis])
    return function(x.reshape(rows, -1), 1).reshape(x.shape)


def _last_axes(call: Call, x: Tensor) -> tuple[int, ...]:
    return tuple(range(call.attribute("axis", -1) % x.dim(), x.dim()))
