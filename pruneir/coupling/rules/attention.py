"""Attention as one operator: heads × dims, where Q and K share their dims and V's go on to the output.

Of the 3-D form the hidden axis is split into heads and dims; the 4-D form has them as axes. Keys and values may have
fewer heads than queries, each of which serves a run of them; a mask may have one for each head of the queries. The
default scale 1/√d is that of the dims before a cut.
"""

from __future__ import annotations

from math import sqrt

from pruneir.coupling import labels as lab
from pruneir.coupling.labels import Labels
from pruneir.coupling.rule import Axis, Cut, Edit, Op, Refused, Tensor, rule
from pruneir.coupling.words import PRODUCT


@rule("Attention")
def attention(op: Op) -> None:
    """Y = softmax(scale·Q·Kᵀ + mask)·V per head."""
    if any(tensor is not None for tensor in (*op.inputs[4:6], *op.outputs[1:3])):
        raise Refused("keeps a cache of keys and values")
    if any(tensor is not None for tensor in op.outputs[3:]):
        raise Refused("returns its scores")
    q, k, v, y = op.input(0), op.input(1), op.input(2), op.y
    shared = op.attribute("kv_num_heads", 1) if q.rank == 3 else k.shape[1]
    queries = op.attribute("q_num_heads", 1) if q.rank == 3 else q.shape[1]
    (q_heads, q_dims), (k_heads, k_dims), (v_heads, v_dims) = (
        _heads(op, tensor, heads) for tensor, heads in ((q, queries), (k, shared), (v, shared))
    )
    served, _ = lab.split(op.generators, q_heads, (shared, queries // shared))
    for heads in (k_heads, v_heads):
        op.generators_tie(served, heads)
    op.generators_tie(q_dims, k_dims)
    op.sum_over(q.axis(-1), k.axis(-1))
    if not (q.axis(-1).zero or k.axis(-1).zero):
        op.hold(q_dims, PRODUCT, code="PIR012")
    mask = op.optional(3)
    facing = mask.trailing(4, 1) if mask is not None else None
    if facing is not None and facing.length > 1:
        op.label(facing, q_heads, role="term")
    last = y.rank - 1
    if y.rank == 3:
        y.axis(last).assign(lab.merge([q_heads, v_dims]), v.axis(-1).zero)
    else:
        y.axis(1).assign(q_heads, v.axis(1).zero)
        y.axis(last).assign(v_dims, v.axis(-1).zero)
    op.keep(y.axis(0), q.axis(0))
    scale = op.attribute("scale", 1 / sqrt(len(q_dims)))
    op.on_cut(lambda cut: _edit(cut, q.rank, q_heads, k_heads, q_dims, scale))
    op.macs(q.axes, k.axis(-2))
    op.macs(y.axes, k.axis(-2))


def _edit(cut: Cut, rank: int, q_heads: Labels, k_heads: Labels, dims: Labels, scale: float) -> Edit:
    heads = {"q_num_heads": cut.count(q_heads), "kv_num_heads": cut.count(k_heads)} if rank == 3 else {}
    return Edit(attributes={**heads, **({"scale": scale} if cut.touches(dims) else {})})


def _heads(op: Op, tensor: Tensor, heads: int) -> tuple[Labels, Labels]:
    """The labels of a tensor's heads and dims."""
    hidden: Axis = tensor.axis(-1)
    if tensor.rank == 4:
        return tensor.axis(1).labels, hidden.labels
    blocks, dims = lab.split(op.generators, hidden.labels, (heads, hidden.length // heads))
    return blocks, dims
