"""Operators that compute nothing: names for memory that is there, and boxes of numbers that are copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from pruneir.backends.x86.boxes import Box, box, strides
from pruneir.backends.x86.work import Setting
from pruneir.graph import Operator

_RUNS = 16
"""Boxes of a Gather at most."""
_SAME = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")


@dataclass(frozen=True, slots=True)
class Copy:
    """A box that is copied.

    source  a value, or a constant
    target  the value that it becomes, or a part of
    last    whether channels are last in what is read
    """

    source: str | np.ndarray
    target: str
    kernel: Box
    last: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """What moves.

    last    whether channels are last in what is written
    same    the value whose memory the output is
    turned  whether that has its channels last where the output has not, or the other way round
    copies  or what is copied
    taken   operators behind that are done with it
    """

    last: bool = False
    same: str | None = None
    turned: bool = False
    copies: tuple[Copy, ...] = ()
    taken: tuple[Operator, ...] = ()


def move(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    """The move that an operator is; None if it is none.

    last  values that have their channels last
    """
    if operator.is_a(*_SAME):
        return _same(operator, setting, last)
    if not operator.is_a(*_RULES) or setting.shape(operator) is None:
        return None
    return _RULES[operator.type](operator, setting, last)


def _same(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    if len([o for o in operator.outputs if o]) != 1 or setting.graph.constant(operator.inputs[0]) is not None:
        return None
    return _chain(operator, setting, last) or Move(same=operator.inputs[0])


def _chain(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    """A Reshape that splits axes, the Transpose behind and a Reshape that merges axes: channels are shuffled, or become
    pixels. Where channels are not last, the first and the last of these need no copy anyway.
    """
    turn = _only_user(operator, setting)
    if not last.get(operator.inputs[0], False) or turn is None or not turn.is_a("Transpose"):
        return None
    into, perm = _shape(operator.outputs[0], setting), _perm(turn, setting)
    for end in (_only_user(turn, setting), None):
        if end is None or end.is_a("Reshape", "Flatten"):
            taken = (turn, end) if end is not None else (turn,)
            made = _rearranged(operator.inputs[0], taken[-1].outputs[0], into, perm, setting, last)
            if made is not None:
                return Move(made.last, copies=made.copies, taken=taken)
    return None


def _only_user(operator: Operator, setting: Setting) -> Operator | None:
    (output,) = operator.outputs
    users = setting.graph.users(output)
    return users[0] if len(users) == 1 and output not in setting.graph.outputs else None


def _rearranged(
    data: str, target: str, into: Sequence[int], perm: Sequence[int], setting: Setting, last: Mapping[str, bool]
) -> Move | None:
    """Axes split `into` others, permuted, and merged; None where that is no matter of whole axes."""
    shape, out = _shape(data, setting), _shape(target, setting)
    is_last = len(shape) > 2 and last.get(data, False)
    to_last = is_last and len(out) == len(shape)
    come = _split(shape, strides(shape, last=is_last), into)
    counts = [into[axis] for axis in perm]
    go = _split(out, strides(out, last=to_last), counts)
    if come is None or go is None:
        return None
    kernel = box(counts, [come[axis] for axis in perm], go)
    return Move(to_last, copies=(Copy(data, target, kernel, is_last),))


def _split(shape: Sequence[int], steps: Sequence[int], into: Sequence[int]) -> list[int] | None:
    """The strides of axes that others are split into; None if some axis is no part of one of these."""
    found: list[int] = []
    rest = [*into]
    for size, step in zip(shape, steps, strict=True):
        parts: list[int] = []
        while rest and (prod(parts) < size or rest[0] == 1):
            parts.append(rest.pop(0))
        if prod(parts) != size:
            return None
        found += [step * prod(parts[place + 1 :]) for place in range(len(parts))]
    return None if rest else found


def _transpose(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    data, out = operator.inputs[0], operator.outputs[0]
    shape, perm = _shape(data, setting), _perm(operator, setting)
    axes = list(range(len(shape)))
    behind, front = [0, *axes[2:], 1], [0, axes[-1], *axes[1:-1]]
    if len(shape) > 2 and perm in (behind, front):  # the same memory, read in the other order
        return Move(same=data, last=perm == front, turned=True)
    return _rearranged(data, out, shape, perm, setting, last)


def _depth_to_space(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    data, block = operator.inputs[0], operator.attribute("blocksize")
    n, c, h, w = _shape(data, setting)
    if operator.attribute("mode", "DCR") == "CRD":
        into, perm = (n, c // block**2, block, block, h, w), (0, 1, 4, 2, 5, 3)
    else:
        into, perm = (n, block, block, c // block**2, h, w), (0, 3, 4, 1, 5, 2)
    return _rearranged(data, operator.outputs[0], into, perm, setting, last)


def _space_to_depth(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    data, block = operator.inputs[0], operator.attribute("blocksize")
    n, c, h, w = _shape(data, setting)
    into = (n, c, h // block, block, w // block, block)
    return _rearranged(data, operator.outputs[0], into, (0, 3, 5, 1, 2, 4), setting, last)


def _concat(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    out = operator.outputs[0]
    whole = _shape(out, setting)
    if any(setting.shapes.elem_type(name) != onnx.TensorProto.FLOAT for name in operator.inputs):
        return None
    is_last = len(whole) > 2 and any(last.get(name, False) for name in operator.inputs)
    axis, go = operator.attribute("axis") % len(whole), strides(whole, last=is_last)
    copies, start = [], 0
    for name in operator.inputs:
        part = _shape(name, setting)
        kernel = box(part, strides(part, last=is_last), go, 0, start * go[axis])
        copies.append(Copy(name, out, kernel, is_last))
        start += part[axis]
    return Move(is_last, copies=tuple(copies))


def _cut(
    data: str, target: str, first: Sequence[int], step: Sequence[int], setting: Setting, last: Mapping[str, bool]
) -> Copy:
    """Those numbers of a value that begin at a place and lie so many steps apart, in the order that it has."""
    shape, part = _shape(data, setting), _shape(target, setting)
    is_last = len(shape) > 2 and last.get(data, False)
    come = strides(shape, last=is_last)
    start = sum(place * stride for place, stride in zip(first, come, strict=True))
    apart = [stride * times for stride, times in zip(come, step, strict=True)]
    return Copy(data, target, box(part, apart, strides(part, last=is_last), start), is_last)


def _split_up(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    data = operator.inputs[0]
    shape = _shape(data, setting)
    axis, start, copies = operator.attribute("axis", 0) % len(shape), 0, []
    for name in operator.outputs:
        if not name:
            return None
        first = [start if place == axis else 0 for place in range(len(shape))]
        copies.append(_cut(data, name, first, (1,) * len(shape), setting, last))
        start += _shape(name, setting)[axis]
    return Move(copies[0].last, copies=tuple(copies))


def _slice(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    data, out = operator.inputs[0], operator.outputs[0]
    shape = _shape(data, setting)
    starts, ends, axes, steps = (setting.constant(operator, slot) for slot in range(1, 5))
    if starts is None or ends is None or not prod(shape):
        return None
    first, step = [0] * len(shape), [1] * len(shape)
    where = axes.tolist() if axes is not None else range(len(starts))
    apart = steps.tolist() if steps is not None else [1] * len(starts)
    for axis, begin, end, by in zip(where, starts.tolist(), ends.tolist(), apart, strict=True):
        first[axis], step[axis] = slice(begin, end, by).indices(shape[axis])[0], by
    copy = _cut(data, out, first, step, setting, last)
    return Move(copy.last, copies=(copy,))


def _gather(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    """Along one axis at constant places: few runs of evenly spaced ones, or rows of a grid."""
    data, out, places = operator.inputs[0], operator.outputs[0], setting.constant(operator, 1)
    shape = _shape(data, setting)
    if places is None or setting.graph.constant(data) is not None or not prod(_shape(out, setting)):
        return None
    axis = operator.attribute("axis", 0) % len(shape)
    runs = _even(np.where(places < 0, places + shape[axis], places).ravel())
    again = _even(np.array([first for first, _, _ in runs]))
    if len(runs) > 1 and len(again) == 1 and len({(by, count) for _, by, count in runs}) == 1:  # rows of a grid
        blocks = [(*again[0], *runs[0][1:])]
    else:
        blocks = [(first, 0, 1, by, count) for first, by, count in runs]
    if len(blocks) > _RUNS:
        return None
    is_last = len(shape) > 2 and last.get(data, False)
    to_last = is_last and places.ndim == 1
    rows = (*shape[:axis], places.size, *shape[axis + 1 :])
    come, go = strides(shape, last=is_last), strides(rows, last=to_last)
    copies, done = [], 0
    for first, far, lines, by, count in blocks:
        part = (lines, *shape[:axis], count, *shape[axis + 1 :])
        apart = (come[axis] * far, *come[:axis], come[axis] * by, *come[axis + 1 :])
        to = (go[axis] * count, *go)
        copies.append(Copy(data, out, box(part, apart, to, first * come[axis], done * go[axis]), is_last))
        done += lines * count
    return Move(to_last, copies=tuple(copies))


def _even(places: np.ndarray) -> list[tuple[int, int, int]]:
    """Runs of evenly spaced places: the first, the step, how many."""
    runs: list[tuple[int, int, int]] = []
    for place in map(int, places):
        if runs:
            first, by, count = runs[-1]
            if count == 1 or place == first + by * count:
                runs[-1] = (first, place - first if count == 1 else by, count + 1)
                continue
        runs.append((place, 1, 1))
    return runs


def _pad(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    """By a constant: all of it is filled, then the image copied into its place. What is negative cuts off."""
    data, out = operator.inputs[0], operator.outputs[0]
    shape, whole = _shape(data, setting), _shape(out, setting)
    pads = operator.attribute("pads", operator.attribute("paddings"))
    given, value, axes = (setting.constant(operator, slot) for slot in (1, 2, 3))
    pads = given if pads is None else np.asarray(pads)
    known = all(
        setting.constant(operator, slot) is not None for slot, name in enumerate(operator.inputs) if slot and name
    )
    if operator.attribute("mode", "constant") != "constant" or pads is None or not known:
        return None
    before = [0] * len(shape)
    for axis, size in zip(axes.tolist() if axes is not None else range(len(shape)), pads.tolist(), strict=False):
        before[axis] = size
    is_last = len(shape) > 2 and last.get(data, False)
    come, go = strides(shape, last=is_last), strides(whole, last=is_last)
    first = [max(0, -each) for each in before]
    to_first = [max(0, each) for each in before]
    part = [max(0, min(size - a, room - b)) for size, room, a, b in zip(shape, whole, first, to_first, strict=True)]
    fill = np.float32(operator.attribute("value", 0.0) if value is None else value.ravel()[0])
    image = box(part, come, go, int(np.dot(first, come)), int(np.dot(to_first, go)))
    copies = (
        Copy(fill.reshape(1), out, box(whole, (0,) * len(whole), go)),
        Copy(data, out, image, is_last),
    )
    return Move(is_last, copies=copies[part == list(whole) :])


def _expand(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    data, out = operator.inputs[0], operator.outputs[0]
    shape, whole = _shape(data, setting), _shape(out, setting)
    is_last = len(shape) > 2 and last.get(data, False)
    to_last = is_last and len(shape) == len(whole)
    own = strides(shape, last=is_last)
    come = [0 if size == 1 else stride for size, stride in zip(shape, own, strict=True)]
    kernel = box(whole, [0] * (len(whole) - len(shape)) + come, strides(whole, last=to_last))
    return Move(to_last, copies=(Copy(data, out, kernel, is_last),))


def _tile(operator: Operator, setting: Setting, last: Mapping[str, bool]) -> Move | None:
    data, out = operator.inputs[0], operator.outputs[0]
    shape, whole = _shape(data, setting), _shape(out, setting)
    if not prod(shape):
        return None
    is_last = len(shape) > 2 and last.get(data, False)
    come, go = strides(shape, last=is_last), strides(whole, last=is_last)
    counts = [*(room // size for size, room in zip(shape, whole, strict=True)), *shape]
    far = [stride * size for stride, size in zip(go, shape, strict=True)]
    kernel = box(counts, [*(0,) * len(shape), *come], [*far, *go])
    return Move(is_last, copies=(Copy(data, out, kernel, is_last),))


_RULES: dict[str, Callable[[Operator, Setting, Mapping[str, bool]], Move | None]] = {
    "Transpose": _transpose,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Concat": _concat,
    "Split": _split_up,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
}


def _perm(operator: Operator, setting: Setting) -> list[int]:
    rank = len(_shape(operator.inputs[0], setting))
    return [*operator.attribute("perm", range(rank)[::-1])]


def _shape(name: str, setting: Setting) -> tuple[int, ...]:
    found = setting.shapes.shape(name)
    assert found is not None
    return found
