"""Reductions over axes, which are an attribute in older opsets and an input in newer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pruneir.training.ops.call import Call, axes_of, op

Reduction = Callable[[Tensor, Sequence[int]], Tensor]
"""(x, axes) → the reduced tensor, the axes kept with length one."""


def _product(x: Tensor, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True)
    return x


def _mean(x: Tensor, axes: Sequence[int]) -> Tensor:
    return x.mean(axes, keepdim=True) if x.is_floating_point() else x.double().mean(axes, keepdim=True).to(x.dtype)


def _sum(x: Tensor, axes: Sequence[int]) -> Tensor:
    return x.sum(axes, keepdim=True, dtype=x.dtype)


def _max(x: Tensor, axes: Sequence[int]) -> Tensor:
    return x.amax(axes, keepdim=True) if x.numel() else _empty(x, axes, largest=False)


def _min(x: Tensor, axes: Sequence[int]) -> Tensor:
    return x.amin(axes, keepdim=True) if x.numel() else _empty(x, axes, largest=True)


def _empty(x: Tensor, axes: Sequence[int], *, largest: bool) -> Tensor:
    """An extreme of nothing: what every number is larger or smaller than."""
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    if x.is_floating_point():
        return x.new_full(shape, torch.inf if largest else -torch.inf)
    bounds = (False, True) if x.dtype == torch.bool else (torch.iinfo(x.dtype).min, torch.iinfo(x.dtype).max)
    return x.new_full(shape, bounds[largest])


def _l2(x: Tensor, axes: Sequence[int]) -> Tensor:
    return torch.linalg.vector_norm(x, 2, axes, keepdim=True) if x.is_floating_point() else _sum(x * x, axes).sqrt()


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes: _sum(x.abs(), axes),
    "ReduceL2": _l2,
    "ReduceLogSum": lambda x, axes: _sum(x, axes).log(),
    "ReduceLogSumExp": lambda x, axes: torch.logsumexp(x, axes, keepdim=True),
    "ReduceMax": _max,
    "ReduceMean": _mean,
    "ReduceMin": _min,
    "ReduceProd": _product,
    "ReduceSum": _sum,
    "ReduceSumSquare": lambda x, axes: _sum(x * x, axes),
}


def _reduction(function: Reduction) -> Callable[..., Tensor]:
    def run(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
        named = (axes is not None and axes.numel()) or call.attribute("axes")
        if (not named and call.attribute("noop_with_empty_axes", 0)) or x.dim() == 0:
            return function(x.unsqueeze(0), [0]).squeeze(0)
        over = axes_of(call, axes, x.dim())
        y = function(x, over)
        return y if call.attribute("keepdims", 1) else y.reshape([n for i, n in enumerate(x.shape) if i not in over])

    return run


for _kind, _function in _REDUCTIONS.items():
    op(_kind, spread=True)(_reduction(_function))


@op("ArgMax", "ArgMin")
def arg(call: Call, x: Tensor) -> Tensor:
    """The first extreme along an axis, or the last one."""
    axis = call.attribute("axis", 0) % x.dim()
    choose = torch.argmax if call.operator.type == "ArgMax" else torch.argmin
    keep = bool(call.attribute("keepdims", 1))
    if call.attribute("select_last_index", 0):
        return x.shape[axis] - 1 - choose(x.flip(axis), axis, keepdim=keep)
    return choose(x, axis, keepdim=keep)


@op("CumSum", spread=True)
def cum_sum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    """Sums up to a position; `exclusive` leaves the position out, `reverse` starts at the end."""
    along = int(axis) % x.dim()
    x = x.flip(along) if call.attribute("reverse", 0) else x
    y = x.cumsum(along, dtype=x.dtype)
    y = y - x if call.attribute("exclusive", 0) else y
    return y.flip(along) if call.attribute("reverse", 0) else y


@op("TopK", spread=True)
def top_k(call: Call, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k largest or smallest along an axis and where they are; of equals, the first."""
    count = int(k) if k is not None else call.attribute("k")
    axis = call.attribute("axis", -1)
    values, where = torch.sort(x, dim=axis, descending=bool(call.attribute("largest", 1)), stable=True)
    return values.narrow(axis, 0, count), where.narrow(axis, 0, count)
