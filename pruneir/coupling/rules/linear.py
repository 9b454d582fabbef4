"""Gemm and MatMul: one axis of each operand is summed over, the others come through."""

from __future__ import annotations

from pruneir.coupling.rule import Axis, Op, Tensor, rule


@rule("Gemm")
def gemm(op: Op) -> None:
    """Y = α·A'·B' + β·C with A' and B' optionally transposed; C broadcasts to [M, N]."""
    a, b, y = op.x, op.input(1), op.y
    rows, summed = a.axis(op.attribute("transA", 0)), a.axis(1 - op.attribute("transA", 0))
    inner, columns = b.axis(op.attribute("transB", 0)), b.axis(1 - op.attribute("transB", 0))
    op.contract(summed, inner)
    _through(op, y.axis(0), rows)
    _through(op, y.axis(1), columns)
    bias = op.optional(2)
    if bias is not None:
        for out in y.axes:
            facing = bias.trailing(y.rank, out.index)
            if facing is not None and facing.length == out.length:
                op.tie(out, facing, role="out")
                y.state.zero[out.index] &= facing.zero
            else:
                y.state.zero[out.index] = False
    op.macs(y.axes, summed)


@rule("MatMul")
def matmul(op: Op) -> None:
    """The last axis of A is summed with the last but one of B; the axes before broadcast."""
    multiply(op, op.x, op.input(1))


def multiply(op: Op, a: Tensor, b: Tensor) -> None:
    """A matrix product of these inputs."""
    y = op.y
    summed, inner = a.axis(-1), b.axis(-2 if b.rank > 1 else -1)
    op.contract(summed, inner)
    rank = y.rank
    if b.rank > 1:
        _through(op, y.axis(-1), b.axis(-1))
        rank -= 1
    if a.rank > 1:
        _through(op, y.axis(rank - 1), a.axis(-2))
        rank -= 1
    for index in range(rank):
        facing = [t.trailing(rank + 2, index) for t in (a, b) if t.rank > 2]
        wide = [axis for axis in facing if axis is not None and axis.length == y.shape[index]]
        op.tie(y.axis(index), *wide)
        y.state.zero[index] = any(axis.zero for axis in wide)
    op.macs(y.axes, summed)


def _through(op: Op, out: Axis, source: Axis) -> None:
    """An axis of one operand that the product keeps: zero where the operand is."""
    zero = source.zero
    op.tie(out, source, role="out")
    out.tensor.state.zero[out.index] = zero
