"""Operators that read or write at positions which are data: elements, slices, scattering, one-hot."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from pruneir.graph import Graph
from pruneir.training.ops.call import Call, op

_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@op("GatherElements", spread=True)
def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """An element for every index, along an axis."""
    axis = call.attribute("axis", 0)
    return x.gather(axis, _counted(indices, x.shape[axis]).to(x.device))


@op("GatherND", spread=True)
def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """The slices at index tuples, behind `batch_dims` shared axes."""
    shared, depth = call.attribute("batch_dims", 0), indices.shape[-1]
    where = _counted(indices.long(), torch.tensor(x.shape[shared : shared + depth], device=indices.device)).to(x.device)
    for axis in range(shared):
        lead = torch.arange(x.shape[axis], device=x.device)
        lead = lead.reshape(*[1] * axis, -1, *[1] * (where.dim() - axis - 1))
        where = torch.cat([where[..., :axis], lead.expand(*where.shape[:-1], 1), where[..., axis:]], -1)
    return x[tuple(where.unbind(-1))]


@op("ScatterElements", "Scatter", spread=True)
def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Elements written at indices along an axis, or combined with what is there."""
    axis, how = call.attribute("axis", 0), call.attribute("reduction", "none")
    where = _counted(indices.long(), x.shape[axis]).to(x.device)
    if how == "none":
        return x.scatter(axis, where, updates)
    return x.scatter_reduce(axis, where, updates, _REDUCE[how])


@op("ScatterND", spread=True)
def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Slices written at index tuples, or combined with what is there."""
    depth, how = indices.shape[-1], call.attribute("reduction", "none")
    where = _counted(indices.long(), torch.tensor(x.shape[:depth], device=indices.device)).to(x.device)
    if how == "none":
        return x.index_put(tuple(where.unbind(-1)), updates)
    steps = torch.tensor([prod(x.shape[axis + 1 : depth]) for axis in range(depth)], device=x.device)
    rows = (where * steps).sum(-1).reshape(-1)
    source = updates.reshape(rows.shape[0], -1)
    flat = x.reshape(prod(x.shape[:depth]), -1)
    return flat.scatter_reduce(0, rows[:, None].expand_as(source), source, _REDUCE[how]).reshape(x.shape)


@op("TensorScatter")
def tensor_scatter(call: Call, past: Tensor, update: Tensor, start: Tensor | None = None) -> Tensor:
    """Rows of a cache replaced from a position on; `circular` starts again at its front."""
    axis = call.attribute("axis", -2) % past.dim()
    length, batch = update.shape[axis], past.shape[0]
    first = torch.zeros(batch, dtype=torch.int64) if start is None else start
    where = first.reshape(-1, 1).to(past.device) + torch.arange(length, device=past.device)
    where = where % past.shape[axis] if call.attribute("mode", "linear") == "circular" else where
    shape = [1] * past.dim()
    shape[0], shape[axis] = batch, length
    return past.scatter(axis, where.reshape(shape).expand_as(update), update)


@op("OneHot", spread=True)
def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """values[1] at an index along a new axis, values[0] elsewhere."""
    count, axis = int(depth), call.attribute("axis", -1)
    at = torch.arange(count, device=values.device)
    axis = axis % (indices.dim() + 1)
    shape = [1] * (indices.dim() + 1)
    shape[axis] = count
    where = _counted(indices.long(), count).to(values.device).unsqueeze(axis)
    return torch.where(where == at.reshape(shape), values[1], values[0])


@op("Compress", spread=True)
def compress(call: Call, x: Tensor, condition: Tensor) -> Tensor:
    """What a condition selects along an axis, or of all elements."""
    axis = call.attribute("axis")
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return x.index_select(axis, condition.nonzero().reshape(-1).to(x.device))


@op("ReverseSequence", spread=True)
def reverse_sequence(call: Call, x: Tensor, lengths: Tensor) -> Tensor:
    """The first elements of each sequence in reverse."""
    time, batch = call.attribute("time_axis", 0), call.attribute("batch_axis", 1)
    steps = torch.arange(x.shape[time], device=x.device)[:, None]
    ends = lengths.to(x.device)[None]
    where = torch.where(steps < ends, ends - 1 - steps, steps)
    shape = [1] * x.dim()
    shape[time], shape[batch] = where.shape
    where = where if time < batch else where.T
    return x.gather(time, where.reshape(shape).expand_as(x))


@op("NonMaxSuppression", "Unique", spread=True)
def by_reference(call: Call, *inputs: Tensor | None) -> tuple[Any, ...]:
    """As the onnx package computes it, without a gradient."""
    names = [f"i{slot}" if tensor is not None else "" for slot, tensor in enumerate(inputs)]
    graph = Graph()
    graph.header.opset_import.add(domain="", version=call.opset)
    graph.inputs += filter(None, names)
    graph.outputs += filter(None, call.operator.outputs)
    graph.add(call.operator.with_(inputs=tuple(names)))
    for name, tensor in zip(names, inputs, strict=True):
        if tensor is not None:
            kind = onnx.helper.np_dtype_to_tensor_dtype(tensor.detach().cpu().numpy().dtype)
            graph.declare(name, kind, list(tensor.shape))
    from pruneir.onnx_io import to_model  # noqa: PLC0415

    for name in graph.outputs:
        graph.declare(name, onnx.TensorProto.FLOAT, None)
    feeds = {n: t.detach().cpu().numpy() for n, t in zip(names, inputs, strict=True) if t is not None}
    made = dict(zip(graph.outputs, ReferenceEvaluator(to_model(graph)).run(None, feeds), strict=True))
    return tuple(torch.from_numpy(np.asarray(made[n])) if n else None for n in call.operator.outputs)


def _counted(indices: Tensor, length: int | Tensor) -> Tensor:
    """Indices counted from the front."""
    return torch.where(indices < 0, indices + length, indices)
