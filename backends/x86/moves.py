"""Operators that compute nothing: names for memory that is there, and copies of runs of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from pruneir.backends.x86.kernels import Setting
from pruneir.backends.x86.plain import Copy
from pruneir.graph import Operator


@dataclass(frozen=True, slots=True)
class Move:
    """What moves.

    last    whether channels are last in what is written
    same    the value whose memory the output is
    turned  whether that has its channels last where the output has not, or the other way round
    copies  or what is copied: from which value, to which, and how, in the same order
    """

    last: bool = False
    same: str | None = None
    turned: bool = False
    copies: tuple[tuple[str, str, Copy], ...] = ()


def move(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    """The move that an operator is; None if it is none.

    last  values that have their channels last
    """
    if operator.is_a("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"):
        if len([o for o in operator.outputs if o]) != 1 or setting.graph.constant(operator.inputs[0]) is not None:
            return None
        return Move(same=operator.inputs[0])
    if operator.is_a("Transpose"):
        return _transpose(operator, setting)
    if operator.is_a("Concat"):
        return _concat(operator, setting, last)
    if operator.is_a("Split"):
        return _split(operator, setting, last)
    if operator.is_a("Slice"):
        return _slice(operator, setting, last)
    return None


def _transpose(operator: Operator, setting: Setting) -> Move | None:
    """Channels to the end, or to the front: the same memory, read in the other order."""
    shape, perm = setting.shape(operator), operator.attribute("perm")
    if shape is None or len(shape) < 3 or perm is None:
        return None
    axes = list(range(len(shape)))
    behind, front = [0, *axes[2:], 1], [0, axes[-1], *axes[1:-1]]
    if list(perm) not in (behind, front):
        return None
    return Move(same=operator.inputs[0], last=list(perm) == front, turned=True)


def _concat(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    shape, out = setting.shapes.shape(operator.inputs[0]), operator.outputs[0]
    if shape is None or not _all_float(operator.inputs, setting):
        return None
    is_last = len(shape) > 2 and any(last.get(name, False) for name in operator.inputs)
    axis, whole = operator.attribute("axis") % len(shape), setting.shapes.shape(out)
    assert whole is not None
    copies, start = [], 0
    for name in operator.inputs:
        part = setting.shapes.shape(name)
        assert part is not None
        rows, width = _runs(part, axis, is_last)
        to_step = _runs(whole, axis, is_last)[1]
        copies.append((name, out, Copy(rows, width, width, 0, to_step, start)))
        start += width
    return Move(is_last, copies=tuple(copies))


def _split(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    data = operator.inputs[0]
    shape = setting.shapes.shape(data)
    if shape is None or not _all_float([data], setting):
        return None
    is_last, axis = len(shape) > 2 and last.get(data, False), operator.attribute("axis", 0) % len(shape)
    rows, whole = _runs(shape, axis, is_last)
    copies, start = [], 0
    for name in operator.outputs:
        part = setting.shapes.shape(name)
        assert part is not None
        width = _runs(part, axis, is_last)[1]
        copies.append((data, name, Copy(rows, width, whole, start, width, 0)))
        start += width
    return Move(is_last, copies=tuple(copies))


def _slice(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    """One run along one axis, by steps of one."""
    data, out = operator.inputs[0], operator.outputs[0]
    shape, part = setting.shapes.shape(data), setting.shapes.shape(out)
    given = [setting.constant(operator, slot) for slot in range(1, 5)]
    if shape is None or part is None or given[0] is None or not _all_float([data], setting):
        return None
    starts, axes, steps = given[0], given[2], given[3]
    changed = [axis for axis, (a, b) in enumerate(zip(shape, part, strict=True)) if a != b]
    if len(changed) != 1 or (steps is not None and np.any(steps != 1)):
        return None
    (axis,) = changed
    where = [int(each) % len(shape) for each in axes] if axes is not None else list(range(len(starts)))
    first = int(starts[where.index(axis)])
    first = max(0, first + shape[axis]) if first < 0 else first
    is_last = len(shape) > 2 and last.get(data, False)
    rows, whole = _runs(shape, axis, is_last)
    width = _runs(part, axis, is_last)[1]
    copy = Copy(rows, width, whole, first * (whole // shape[axis]), width, 0)
    return Move(is_last, copies=((data, out, copy),))


def _runs(shape: tuple[int, ...], axis: int, last: bool) -> tuple[int, int]:
    """How many runs an axis has in memory, and how long they are: all that lies inside of it."""
    order = [0, *range(2, len(shape)), 1] if last else list(range(len(shape)))
    place = order.index(axis)
    return prod(shape[each] for each in order[:place]), prod(shape[each] for each in order[place:])


def _all_float(names: tuple[str, ...] | list[str], setting: Setting) -> bool:
    return all(setting.shapes.elem_type(name) == 1 for name in names)
