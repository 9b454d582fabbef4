"""Normalisations.

Statistics per channel (BatchNorm, InstanceNorm) leave channels independent. Statistics across channels change when one
of them goes: such an axis stays whole, unless the option `cut_norms` opens it; the network is then another one, whose
statistics are those of the channels that stay.
"""

from __future__ import annotations

from pruneir.coupling import labels as lab
from pruneir.coupling.rule import Axis, Edit, Op, Refused, Tensor, rule
from pruneir.coupling.words import CUT_NORMS, statistics

_ROLES = ("", "scale", "shift", "mean", "variance")


@rule("BatchNormalization")
def batch_normalization(op: Op) -> None:
    """y = scale·(x − mean)/√(variance + ε) + B, per channel, with statistics that are constants at inference."""
    if op.attribute("training_mode", 0) or any(tensor is not None for tensor in op.outputs[1:]):
        raise Refused(
            "takes the statistics of its own batch (training mode)", "Export the model for inference", "PIR024"
        )
    if op.attribute("spatial", 1) != 1:
        raise Refused("normalises every position with parameters of its own (spatial=0)", "", "PIR024")
    _through(op)
    if op.x.rank > 1:
        for slot in range(1, 5):
            op.tie(op.y.axis(1), op.input(slot).axis(0), role=_ROLES[slot])
        _shifted(op)


@rule("InstanceNormalization")
def instance_normalization(op: Op) -> None:
    """Statistics per sample and channel, over the image; a channel's image may hide channels that were reshaped in."""
    for axis in op.x.axes[2:]:
        _normalized(op, axis)
    _through(op)
    for slot, role in ((1, "scale"), (2, "shift")):
        op.tie(op.y.axis(1), op.input(slot).axis(0), role=role)
    _shifted(op)


@rule("GroupNormalization")
def group_normalization(op: Op) -> None:
    """Statistics per block of channels: whole blocks may go, positions inside of one change its statistics."""
    x, groups = op.x, op.attribute("num_groups")
    blocks, inside = lab.split(op.generators, x.axis(1).labels, (groups, x.axis(1).length // groups))
    if op.normalizes(inside):
        op.hold(inside, statistics(1), CUT_NORMS, code="PIR010")
    _through(op)
    for slot, role in ((1, "scale"), (2, "shift")):
        per = op.input(slot).axis(0)
        op.label(per, x.axis(1).labels if per.length == x.axis(1).length else blocks, role)
    _shifted(op)
    op.on_cut(lambda cut: Edit(attributes={"num_groups": cut.count(blocks)}))


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
@rule("SimplifiedLayerNormalization", domain="com.microsoft")
def layer_normalization(op: Op) -> None:
    """Statistics over the axes from `axis` on; scale and bias are cut with them."""
    if any(tensor is not None for tensor in op.outputs[1:]):
        raise Refused("returns its statistics")
    first = op.attribute("axis", -1) % op.x.rank
    for axis in op.x.axes[first:]:
        _normalized(op, axis)
    _through(op)
    scale, shift = op.optional(1), op.optional(2)
    for out in op.y.axes:
        scaled, shifted = (_facing(op, tensor, out, role) for tensor, role in ((scale, "scale"), (shift, "shift")))
        stays = op.x.axis(out.index).zero and (out.index < first or "Layer" not in op.type or "Simplified" in op.type)
        op.y.state.zero[out.index] = (scaled or stays) and (shifted or shift is None)


@rule("MeanVarianceNormalization")
def mean_variance(op: Op) -> None:
    """Statistics over the given axes, by default batch and image."""
    for index in op.attribute("axes", (0, 2, 3)):
        _normalized(op, op.x.axis(index))
    _through(op)


@rule("LpNormalization")
def lp_normalization(op: Op) -> None:
    """x / ‖x‖ along an axis: channels that are zero add nothing to the norm."""
    axis = op.x.axis(op.attribute("axis", -1))
    if axis.zero:
        op.sum_over(axis)
    else:
        _normalized(op, axis)
    _through(op)


@rule("LRN")
def local_response(op: Op) -> None:
    """Divides by a sum over neighbouring channels, which are others once one has gone."""
    _normalized(op, op.x.axis(1))
    _through(op)


def _shifted(op: Op) -> None:
    """A shift per channel is zero where the channel was masked, and is not along any other axis."""
    op.y.state.zero = [False] * op.y.rank
    op.y.state.zero[1] = op.input(1).axis(0).zero and op.input(2).axis(0).zero


def _facing(op: Op, tensor: Tensor | None, out: Axis, role: str) -> bool:
    """Tie a scale or shift to the output axis that it lines up with; whether it is zero where that is masked."""
    axis = tensor.trailing(op.y.rank, out.index) if tensor is not None else None
    if axis is None or axis.length != out.length:
        return False
    zero = axis.zero
    op.tie(out, axis, role=role)
    return zero


def _normalized(op: Op, axis: Axis) -> None:
    """An axis that statistics are taken over."""
    if op.normalizes(axis.labels):
        op.lock(axis, reason=statistics(axis.index), remedy=CUT_NORMS, code="PIR010")


def _through(op: Op) -> None:
    for axis in op.x.axes:
        op.keep(op.y.axis(axis.index), axis)
