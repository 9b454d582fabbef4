"""Arithmetic on shapes: what of it is the same whatever the symbols becomes constant, the rest reads graph inputs.

Nothing is matched: values that derive from Shape and Size operators and small constants are known at several choices
of every symbolic size (`Samples`), and compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from pruneir.folding.edit import is_captured
from pruneir.folding.fills import split_fills
from pruneir.folding.roots import Roots
from pruneir.folding.sizes import Samples, varies
from pruneir.graph import Graph, Operator

_CLAMPING = (
    *("Min", "Max", "Clip", "Relu", "Abs", "Sign", "Where", "NonZero", "TopK", "ArgMax", "ArgMin", "ReduceMax"),
    *("ReduceMin", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or", "Xor"),
)
_ROUNDING = ("Div", "Mod", "Floor", "Ceil", "Round", "Cast", "BitShift")


def fold_shape_arithmetic(graph: Graph, samples: Samples) -> Counter[str]:
    """Make static values, targets of Reshape and Expand constants; let what is left read the shapes of graph inputs."""
    done: Counter[str] = Counter()
    if not any(operator.is_a("Shape", "Size") for operator in graph.operators):
        return done
    done["operators of shape arithmetic"] += _fold_static(graph, samples)
    derived = {name for operator in _arithmetic(graph, samples) for name in operator.outputs}
    done["dynamic shapes made constant"] += sum(
        _fold_target(graph, samples, operator)
        for operator in graph.operators
        if operator.is_a("Reshape", "Expand") and operator.inputs[1] in derived
    )
    roots = Roots(graph, samples)
    done["fills split"] += split_fills(graph, samples, roots, derived)
    done["dynamic shapes read from graph inputs"] += _read_from_inputs(graph, samples, roots)
    return done


def _arithmetic(graph: Graph, samples: Samples) -> Iterator[Operator]:
    """The operators that compute with shapes alone, in order."""
    derived: set[str] = set()
    for operator in graph.operators:
        asks = operator.is_a("Shape", "Size")
        if not asks and derived.isdisjoint(operator.inputs):
            continue
        standard = operator.domain in ("", "ai.onnx") and not operator.captures
        given = asks or all(name in derived or _is_plain(graph, name) for name in operator.inputs if name)
        known = all(samples.values(name) is not None for name in operator.outputs if name)
        if standard and given and known and _is_smooth(samples, operator):
            derived.update(filter(None, operator.outputs))
            yield operator


def _is_plain(graph: Graph, name: str) -> bool:
    """Whether a value is a constant that is no weight."""
    array = graph.initializers.get(name)
    return array is not None and (array.ndim < 2 or array.dtype.kind in "iub")


def _is_smooth(samples: Samples, operator: Operator) -> bool:
    """Whether what an operator does at the sizes tried says what it does at all others.

    A comparison or a clamp of something that varies does not, unless it is one with a negative number, as exporters
    write them for -1 in a shape; nor does a rounding, where it makes something that varies static.
    """
    inputs = [samples.values(name) or [] for name in operator.inputs if name]
    varying = [values for values in inputs if any(not np.array_equal(value, values[0]) for value in values)]
    if not varying:
        return True
    if operator.is_a("Equal") and len(varying) == 1:
        other = next(values[0] for values in inputs if values is not varying[0])
        changes = np.any([value != varying[0][0] for value in varying[0]], axis=0)
        return bool(np.all((other < 0) | ~changes))
    if operator.is_a("Where") and varying[0] is not inputs[0]:
        return True
    exact = operator.is_a("Div") and all(not np.any(a % b) for a, b in zip(*inputs, strict=True))
    if exact and samples.tells_roundings:  # a ratio at odd sizes too, so no rounding happens
        return True
    rounds = operator.is_a(*_ROUNDING) and samples.static(operator.outputs[0]) is not None
    return not rounds and not operator.is_a(*_CLAMPING)


def _fold_static(graph: Graph, samples: Samples) -> int:
    count, outputs = 0, set(graph.outputs)
    for operator in list(_arithmetic(graph, samples)):
        values = {name: samples.static(name) for name in operator.outputs if name}
        if outputs.isdisjoint(operator.outputs) and all(value is not None for value in values.values()):
            for name, value in values.items():
                if value is not None:
                    graph.define(name, value)
            count += 1
    return count


# Targets


def view_target(samples: Samples, source: str, result: str) -> list[int] | None:
    """The constant target with which Reshape turns `source` into the shape of `result`, whatever the symbols.

    Where the first axis, or one that varies, is as long as the same axis of the source: 0. One other that varies: -1.
    None if more do, or the shapes are not known.
    """
    before, after = samples.shape(source), samples.shape(result)
    if before is None or after is None or any(0 in column for column in (*before, *after)):
        return None
    target = []
    for axis, column in enumerate(after):
        kept = axis < len(before) and column == before[axis] and samples.is_certain(column)
        if kept and (axis == 0 or varies(column)):
            target.append(0)
        else:
            target.append(-1 if varies(column) else column[0])
    return target if target.count(-1) <= 1 else None


def _fold_target(graph: Graph, samples: Samples, operator: Operator) -> bool:
    """Reshape(x, f(Shape(…))) -> Reshape(x, {0,-1,…}); Expand(x, f(Shape(…))) -> Expand(x, {1,…})."""
    source, shape = operator.inputs[:2]
    wanted = samples.values(shape)
    if wanted is None:
        return False
    if operator.is_a("Reshape"):
        target = view_target(samples, source, operator.outputs[0])
        if target is not None and -1 not in target:
            target = [-1 if all(v[axis] == -1 for v in wanted) else n for axis, n in enumerate(target)]
        new = operator.with_attributes(allowzero=None)
    else:
        target, new = _expand_target(samples, source, wanted), operator
    if target is None:
        return False
    name = graph.define(samples.fresh_name(graph, f"{operator.label}.shape"), np.array(target, np.int64))
    graph.replace(operator, new.with_input(1, name))
    return True


def _expand_target(samples: Samples, source: str, wanted: Sequence[np.ndarray]) -> list[int] | None:
    """The entries of Expand's shape that do not vary; 1, which keeps an axis, where it has that length anyway."""
    before = samples.shape(source)
    if before is None:
        return None
    target = []
    lead = wanted[0].size - len(before)
    for axis, column in enumerate(zip(*(value.tolist() for value in wanted), strict=True)):
        same = axis >= lead and column == before[axis - lead] and samples.is_certain(column)
        if varies(column) and not same:
            return None
        target.append(1 if varies(column) else int(column[0]))
    return target


# Dynamic values that read the shape of an inner tensor


def _read_from_inputs(graph: Graph, samples: Samples, roots: Roots) -> int:
    """f(Shape(inner)) -> Concat(Shape(input)[axis], constants, …), where every entry is a symbol's size or static."""
    inner: set[str] = set()
    arithmetic = set()
    for operator in _arithmetic(graph, samples):
        arithmetic.add(operator)
        if not inner.isdisjoint(operator.inputs) or (operator.is_a("Shape") and operator.inputs[0] not in graph.inputs):
            inner.update(operator.outputs)
    count = 0
    for operator in [operator for operator in arithmetic if len(operator.outputs) == 1]:
        name = operator.outputs[0]
        read = any(user not in arithmetic for user in graph.users(name))
        if name in inner and read and name not in graph.outputs and not is_captured(graph, name):
            count += roots.redefine(operator, name)
    return count
