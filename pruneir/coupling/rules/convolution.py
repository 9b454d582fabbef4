"""Conv and ConvTranspose in any number of dimensions, dense, grouped and depthwise.

With g groups the input channels are g blocks of c positions, {h, d}: W sums over d inside each block, the outputs are
the same g blocks h of m new positions each, and `group` is the number of blocks that stay. Dense is g = 1; depthwise
is c = 1, where h is the channel itself.
"""

from __future__ import annotations

from pruneir.coupling import labels as lab
from pruneir.coupling.labels import Labels
from pruneir.coupling.rule import Axis, Edit, Op, Refused, Tensor, rule


@rule("Conv")
def conv(op: Op) -> None:
    """W is [C_out, C_in/group, kernel…]: outputs come from its axis 0, inputs are summed over its axis 1."""
    convolve(op, op.input(1), op.optional(2))


def convolve(op: Op, w: Tensor, bias: Tensor | None) -> None:
    """A convolution whose weights and bias are these inputs."""
    x, y = op.x, op.y
    groups = op.attribute("group", 1)
    op.keep(y.axis(0), x.axis(0))
    y.state.zero[0] &= bias is None
    if groups == 1:
        op.produce(y.axis(1), w.axis(0), *_axes(bias))
        op.contract(x.axis(1), w.axis(1))
    else:
        blocks, inside = _blocks(op, groups)
        op.label(w.axis(1), inside, role="in")
        op.sum_over(x.axis(1))
        made = lab.merge([blocks, _positions(op, w.axis(0).length, groups)])
        for axis in (y.axis(1), w.axis(0), *_axes(bias)):
            op.label(axis, made, role="out")
        y.state.zero[1] = all(axis.zero for axis in (w.axis(0), *_axes(bias)))
    op.macs(y.axes, w.axes[1:])


@rule("ConvTranspose")
def conv_transpose(op: Op) -> None:
    """W is [C_in, C_out/group, kernel…]: the axes of Conv, exchanged."""
    x, w, y = op.x, op.input(1), op.y
    groups = op.attribute("group", 1)
    op.keep(y.axis(0), x.axis(0))
    y.state.zero[0] &= op.optional(2) is None
    op.contract(x.axis(1), w.axis(0))
    if groups == 1:
        op.produce(y.axis(1), w.axis(1), *_axes(op.optional(2)))
    else:
        blocks, _ = _blocks(op, groups)
        inside = _positions(op, w.axis(1).length * groups, groups)
        op.label(w.axis(1), inside, role="out")
        made = lab.merge([blocks, inside])
        for axis in (y.axis(1), *_axes(op.optional(2))):
            op.label(axis, made, role="out")
        y.state.zero[1] = all(axis.zero for axis in (w.axis(1), *_axes(op.optional(2))))
    op.macs(x.axes, w.axes[1:])


def _axes(bias: Tensor | None) -> list[Axis]:
    return [bias.axis(0)] if bias is not None else []


def _blocks(op: Op, groups: int) -> tuple[Labels, Labels]:
    """The input channels as blocks × positions; as many groups stay as blocks do."""
    channels = op.x.axis(1)
    if channels.length % groups:
        raise Refused(f"splits {channels.length} channels into {groups} groups")
    blocks, inside = lab.split(op.generators, channels.labels, (groups, channels.length // groups))
    op.on_cut(lambda cut: Edit(attributes={"group": cut.count(blocks)}))
    return blocks, inside


def _positions(op: Op, outputs: int, groups: int) -> Labels:
    """Fresh labels for the outputs inside one block."""
    each = outputs // groups
    return lab.single(op.generators.fresh(each)) if each > 1 else lab.data(1)
