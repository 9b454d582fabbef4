"""Operators that take, join or pad positions: labels move along, and constants that name positions are rewritten."""

from __future__ import annotations

import numpy as np

from pruneir.coupling import labels as lab
from pruneir.coupling.labels import Labels
from pruneir.coupling.rule import Axis, Cut, Edit, Op, Refused, rule
from pruneir.coupling.words import FOLD


@rule("Concat")
def concat(op: Op) -> None:
    """The joined axis is the inputs' end to end; along every other axis they are tied."""
    parts = [tensor for tensor in op.inputs if tensor is not None]
    joined = op.attribute("axis", 1) % op.y.rank
    for out in op.y.axes:
        facing = [part.axis(out.index) for part in parts]
        zero = all(axis.zero for axis in facing)
        if out.index == joined:
            op.move(out, lab.concat([axis.labels for axis in facing]), *facing)
        else:
            op.tie(out, *facing)
            out.tensor.state.zero[out.index] = zero


@rule("Split")
def split(op: Op) -> None:
    """Each output takes a run of positions; sizes are written out, since equal parts may not stay equal."""
    x = op.x
    axis = x.axis(op.attribute("axis", 0))
    start = 0
    for y in op.outputs:
        if y is None:
            raise Refused("has an output that nothing names")
        stop = start + y.shape[axis.index]
        for other in x.axes:
            if other.index != axis.index:
                op.keep(y.axis(other.index), other)
        op.move(y.axis(axis.index), axis.labels.take(np.arange(start, stop)), axis)
        start = stop
    outs = [y.axis(axis.index) for y in op.outputs if y is not None]
    if _at_run_time(op, axis):
        return

    def sizes(cut: Cut) -> Edit:
        if not cut.touches(axis.labels):
            return Edit()
        counts = np.array([cut.count(out.labels) for out in outs], np.int64)
        if op.opset < 13:
            return Edit(attributes={"split": tuple(counts.tolist())})
        return Edit(attributes={"num_outputs": None}, constants={1: counts})

    op.on_cut(sizes)


@rule("Slice")
def slice_(op: Op) -> None:
    """Starts and ends count positions; with a step other than one the positions that stay are gathered by index."""
    x, y = op.x, op.y
    starts, ends = op.parameter("starts", 1), op.parameter("ends", 2)
    axes = [a % x.rank for a in op.parameter("axes", 3, list(range(len(starts))))]
    steps = op.parameter("steps", 4, [1] * len(starts))
    taken = {a: np.arange(x.shape[a])[s:e:t] for a, s, e, t in zip(axes, starts, ends, steps, strict=True)}
    for axis in x.axes:
        positions = taken.get(axis.index)
        if positions is None or np.array_equal(positions, np.arange(axis.length)):
            op.keep(y.axis(axis.index), axis)
        elif steps[axes.index(axis.index)] == 1 or len(axes) == 1:
            op.move(y.axis(axis.index), axis.labels.take(positions), axis)
    if _at_run_time(op, *(x.axis(a) for a in axes)):
        return
    given = {"starts": list(starts), "ends": list(ends)}

    def moved(cut: Cut) -> Edit:
        new = {name: list(values) for name, values in given.items()}
        for entry, a in enumerate(axes):
            mask = cut.mask(x.axis(a).labels)
            if mask.all():
                continue
            if steps[entry] != 1:
                return Edit(type="Gather", attributes={"axis": a}, constants={1: _renumbered(mask, taken[a])})
            first = int(mask[: taken[a][0]].sum()) if len(taken[a]) else 0
            new["starts"][entry] = first
            new["ends"][entry] = first + int(mask[taken[a]].sum())
        if "starts" in op.operator.attributes:
            return Edit(attributes={name: tuple(values) for name, values in new.items()})
        return Edit(constants={1: np.array(new["starts"]), 2: np.array(new["ends"])})

    op.on_cut(moved)


@rule("Gather")
def gather(op: Op) -> None:
    """Positions named by constant indices move, a single one stays; other indices read a whole axis, as an embedding
    does.
    """
    x, indices, y = op.x, op.input(1), op.y
    at = op.attribute("axis", 0) % x.rank
    after = indices.rank - 1
    for axis in x.axes:
        if axis.index != at:
            op.keep(y.axis(axis.index + (after if axis.index > at else 0)), axis)
    for axis in indices.axes:
        if not indices.constant:
            op.keep(y.axis(at + axis.index), axis)
    if indices.value is None or indices.rank > 1 or not indices.constant:
        return
    axis = x.axis(at)
    positions = np.atleast_1d(indices.value) % axis.length
    taken = axis.labels.take(positions)
    if indices.rank:
        op.move(y.axis(at), taken, axis)
    else:
        op.hold(taken, "takes a single position", code="PIR013")
    indices.touched |= set(range(indices.rank))

    def renumbered(cut: Cut) -> Edit:
        mask = cut.mask(axis.labels)
        return Edit() if mask.all() else Edit(constants={1: _renumbered(mask, positions)})

    op.on_cut(renumbered)


@rule("Pad")
def pad(op: Op) -> None:
    """Padded channels are new constants, which may go one by one; a padded image keeps its channels."""
    x, y = op.x, op.y
    pads = op.parameter("pads", 1)
    axes = [a % x.rank for a in op.parameter("axes", 3, list(range(x.rank)))]
    value = op.parameter("value", 2, [0]) if op.attribute("mode", "constant") == "constant" else [1]
    padded = {a: (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    blank = any(before or after for before, after in padded.values())
    new: dict[int, tuple[Labels, Labels]] = {}
    for axis in x.axes:
        before, after = padded.get(axis.index, (0, 0))
        if not before and not after:
            op.keep(y.axis(axis.index), axis)
        elif before >= 0 and after >= 0 and op.attribute("mode", "constant") == "constant":
            ends = new[axis.index] = (_constants(op, axis, before), _constants(op, axis, after))
            op.move(y.axis(axis.index), lab.concat([ends[0], axis.labels, ends[1]]), axis)
        y.state.zero[axis.index] &= not blank or not any(value)

    def left(cut: Cut) -> list[int]:
        return [cut.count(new[a][side]) if a in new else padded[a][side] for side in (0, 1) for a in axes]

    op.rewrite("pads", 1, left)


def _constants(op: Op, axis: Axis, count: int) -> Labels:
    """Labels of new constants along an axis: free to go where the axis has channels."""
    return lab.single(op.generators.fresh(count)) if count and op.can_die(axis.labels) else lab.data(count)


def _at_run_time(op: Op, *selected: Axis) -> bool:
    """Whether positions are named by what is computed at run time: then the axes that they are taken from stay."""
    if all(tensor is None or tensor.constant for tensor in op.inputs[1:]):
        return False
    for axis in selected:
        op.lock(axis, reason="computes at run time which positions it takes", remedy=FOLD, code="PIR008")
    return True


def _renumbered(mask: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The positions that stay, counted among those of their axis that stay."""
    return np.asarray((np.cumsum(mask) - 1)[positions[mask[positions]]])
