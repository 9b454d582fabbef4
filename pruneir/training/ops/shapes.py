"""Operators that move elements, and the arithmetic on shapes around them."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from pruneir.training.ops.call import Call, axes_of, ints, op


@op("Shape")
def shape(call: Call, x: Tensor) -> Tensor:
    """The shape, or a slice of it."""
    return torch.tensor(list(x.shape)[call.attribute("start", 0) : call.attribute("end")], dtype=torch.int64)


@op("Size")
def size(call: Call, x: Tensor) -> Tensor:
    """The number of elements."""
    return torch.tensor(x.numel())


@op("Reshape", spread=True)
def reshape(call: Call, x: Tensor, to: Tensor) -> Tensor:
    """0 keeps an axis' length unless `allowzero`, −1 is what is left."""
    sizes = ints(to)
    if not call.attribute("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if -1 in sizes and not x.numel():
        sizes[sizes.index(-1)] = 0
    return x.reshape(sizes)


@op("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    """Two axes: those before `axis`, and the rest."""
    axis = call.attribute("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


@op("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    """Axes in another order, by default reversed."""
    return x.permute(tuple(call.attribute("perm", range(x.dim() - 1, -1, -1))))


@op("Squeeze", spread=True)
def squeeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without the named axes, or without any of length one."""
    if axes is None and call.attribute("axes") is None:
        return x.squeeze()
    return x.squeeze(axes_of(call, axes, x.dim()))


@op("Unsqueeze", spread=True)
def unsqueeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """New axes of length one, counted in the output."""
    given = ints(axes) if axes is not None else list(call.attribute("axes"))
    for axis in sorted(axis % (x.dim() + len(given)) for axis in given):
        x = x.unsqueeze(axis)
    return x


@op("Concat")
def concat(call: Call, *parts: Tensor) -> Tensor:
    """End to end along an axis."""
    return torch.cat(parts, call.attribute("axis", 1))


@op("Split", spread=True)
def split(call: Call, x: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
    """Parts along an axis, equal ones where no sizes are named; the last is smaller if need be."""
    axis = call.attribute("axis", 0) % x.dim()
    given = ints(sizes) if sizes is not None else list(call.attribute("split", ()))
    if not given:
        count, length = call.attribute("num_outputs", call.outputs), x.shape[axis]
        each = -(-length // count)
        given = [max(0, min(each, length - each * index)) for index in range(count)]
    return list(x.split(given, axis))


@op("Slice", spread=True)
def slice_(
    call: Call,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Ranges along axes, as Python slices them; negative steps run backwards."""
    begin = ints(starts) if starts is not None else list(call.attribute("starts"))
    end = ints(ends) if ends is not None else list(call.attribute("ends"))
    along = ints(axes) if axes is not None else list(call.attribute("axes", range(len(begin))))
    by = ints(steps) if steps is not None else [1] * len(begin)
    for first, last, axis, step in zip(begin, end, along, by, strict=True):
        x = _sliced(x, first, last, axis % x.dim(), step)
    return x


def _sliced(x: Tensor, first: int, last: int, axis: int, step: int) -> Tensor:
    length = x.shape[axis]
    if step > 0:
        first, last, _ = slice(first, last, step).indices(length)
        index = [slice(None)] * axis + [slice(first, max(first, last), step)]
        return x[tuple(index)]
    first = min(first + length if first < 0 else first, length - 1)
    last = max(last + length, -1) if last < 0 else last
    if last < -length:
        last = -1
    return x.index_select(axis, torch.arange(first, last, step, device=x.device))


@op("Gather", spread=True)
def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Positions along an axis, in the shape of the indices."""
    axis = call.attribute("axis", 0) % x.dim()
    where = indices.to(x.device, torch.int64)
    where = torch.where(where < 0, where + x.shape[axis], where)
    taken = x.index_select(axis, where.reshape(-1))
    return taken.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@op("Expand", spread=True)
def expand(call: Call, x: Tensor, to: Tensor) -> Tensor:
    """Broadcast, both ways."""
    return x.expand(torch.broadcast_shapes(x.shape, ints(to)))


@op("Tile", spread=True)
def tile(call: Call, x: Tensor, repeats: Tensor) -> Tensor:
    """Copies along every axis."""
    return x.repeat(ints(repeats))


@op("Pad", spread=True)
def pad(
    call: Call, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    """Before and behind each axis; negative sizes cut off."""
    given = ints(pads) if pads is not None else list(call.attribute("pads", ()))
    along = [axis % x.dim() for axis in ints(axes)] if axes is not None else list(range(x.dim()))
    fill = call.attribute("value", 0.0) if value is None else value.reshape(())
    kind = call.attribute("mode", "constant")
    for axis, before, behind in zip(along, given, given[len(along) :], strict=False):
        if before < 0 or behind < 0:
            cut = max(0, -before)
            x = x.narrow(axis, cut, x.shape[axis] - cut - max(0, -behind))
        if before > 0 or behind > 0:
            x = _padded(x, axis, max(0, before), max(0, behind), kind, fill)
    return x


def _padded(x: Tensor, axis: int, before: int, behind: int, kind: str, fill: Tensor | float) -> Tensor:
    length = x.shape[axis]
    if kind != "constant":
        how = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[kind]
        where = np.pad(np.arange(length), (before, behind), mode=how)  # type: ignore[call-overload]
        return x.index_select(axis, torch.from_numpy(where).to(x.device))
    sizes = [list(x.shape), list(x.shape)]
    sizes[0][axis], sizes[1][axis] = before, behind
    around = [torch.zeros(size, dtype=x.dtype, device=x.device) + fill for size in sizes]
    return torch.cat([around[0].to(x.dtype), x, around[1].to(x.dtype)], axis)


@op("ConstantOfShape", spread=True)
def constant_of_shape(call: Call, to: Tensor) -> Tensor:
    """One value everywhere, by default a float zero."""
    value = np.asarray(call.attribute("value", np.zeros(1, np.float32))).reshape(-1)[0]
    if value.dtype.kind in "biu":
        return torch.full(ints(to), value.item(), dtype=torch.from_numpy(np.asarray(value)).dtype)
    return torch.full(ints(to), float(value), dtype=call.mode.dtype, device=call.mode.device)


@op("Range")
def range_(call: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """From start to limit, which is left out."""
    count = max(0, int(np.ceil((limit.item() - start.item()) / delta.item())))
    return start + delta * torch.arange(count, dtype=start.dtype, device=start.device)


@op("NonZero")
def non_zero(call: Call, x: Tensor) -> Tensor:
    """Indices of what is not zero, a row an axis."""
    return torch.nonzero(x).T


@op("EyeLike")
def eye_like(call: Call, x: Tensor) -> Tensor:
    """Ones on the k-th diagonal."""
    kind = call.attribute("dtype")
    dtype = x.dtype if kind is None else call.mode.dtype_of(kind)
    rows, columns = torch.arange(x.shape[0])[:, None], torch.arange(x.shape[1])[None]
    return (columns - rows == call.attribute("k", 0)).to(x.device, dtype)


@op("Trilu", spread=True)
def trilu(call: Call, x: Tensor, k: Tensor | None = None) -> Tensor:
    """The upper or lower triangle."""
    return (torch.triu if call.attribute("upper", 1) else torch.tril)(x, 0 if k is None else int(k))


@op("DepthToSpace")
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """Channels become blocks of pixels: DCR takes the block's index first, CRD the channel's."""
    n, c, h, w = x.shape
    r = call.attribute("blocksize")
    if call.attribute("mode", "DCR") == "DCR":
        y = x.reshape(n, r, r, c // r**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, c // r**2, r, r, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // r**2, h * r, w * r)


@op("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    """Blocks of pixels become channels: DCR puts the block's index first, CRD the channel's."""
    n, c, h, w = x.shape
    r = call.attribute("blocksize")
    order = (0, 3, 5, 1, 2, 4) if call.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return x.reshape(n, c, h // r, r, w // r, r).permute(order).reshape(n, c * r**2, h // r, w // r)
