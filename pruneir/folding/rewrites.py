"""Local rewrites, each "before -> after", applied until none fits.

A rule looks at one operator and gives the outputs of what it rewired (these are looked at again), or nothing if it
does not fit. T is Transpose, f an elementwise operator, view any of Reshape, Flatten, Squeeze and Unsqueeze.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from pruneir.folding.arithmetic import view_target
from pruneir.folding.broadcasts import drop_expand
from pruneir.folding.edit import bypass, only_user
from pruneir.folding.recurrent import drop_zero_state
from pruneir.folding.resizes import drop_resize, fold_sizes
from pruneir.folding.scatters import write_slice
from pruneir.folding.shuffles import VIEWS, gather_shuffle
from pruneir.folding.sizes import Samples
from pruneir.folding.strided import view_strided
from pruneir.folding.transposes import join_transposes, lift_transpose, merge_transposes
from pruneir.graph import Graph, Operator

Rule = Callable[[Graph, Samples, Operator], tuple[str, ...]]


def rewrite(graph: Graph, samples: Samples) -> Counter[str]:
    """Apply every rule until none fits; how often each kind did."""
    done: Counter[str] = Counter()
    waiting = deque(graph.operators)
    while waiting:
        operator = waiting.popleft()
        if operator not in graph.network or operator.domain not in ("", "ai.onnx"):
            continue
        for kind, rule in _RULES.get(operator.type, ()):
            touched = rule(graph, samples, operator)
            if touched:
                done[kind] += 1
                waiting.extend(filter(None, map(graph.producer, touched)))
                break
    return done


def drop_identity(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Identity(x), Concat(x), Sum(x), Max(x), Min(x), Mean(x) -> x."""
    return bypass(graph, operator, operator.inputs[0]) if len(operator.inputs) == 1 else ()


def drop_dropout(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Dropout(x) -> x, at inference, if nothing reads the mask."""
    training = operator.inputs[2] if len(operator.inputs) > 2 else ""
    if training and np.any(graph.initializers.get(training, True)):
        return ()
    return () if any(_is_used(graph, name) for name in operator.outputs[1:]) else _drop(graph, operator)


def drop_cast(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Cast(x: t, to=t) -> x."""
    same = samples.first.elem_type(operator.inputs[0]) == operator.attribute("to")
    return _drop(graph, operator) if same else ()


def drop_pad(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Pad(x, {0, …}) -> x."""
    pads = operator.attribute("pads")
    if pads is None and len(operator.inputs) > 1:
        pads = graph.initializers.get(operator.inputs[1])
    return () if pads is None or np.any(pads) else _drop(graph, operator)


def drop_tile(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Tile(x, {1, …}) -> x."""
    repeats = graph.initializers.get(operator.inputs[1])
    return () if repeats is None or np.any(repeats != 1) else _drop(graph, operator)


def drop_slice(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Slice(x) -> x, where it takes everything, forwards."""
    steps = graph.initializers.get(operator.inputs[4]) if len(operator.inputs) > 4 else np.ones(1)
    forwards = steps is not None and not np.any(steps < 0)
    return _drop(graph, operator) if forwards and _keeps_shape(samples, operator) else ()


def drop_view(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """view(x), Expand(x) -> x, where the shape stays as it is."""
    return _drop(graph, operator) if _keeps_shape(samples, operator) else ()


def merge_views(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """view(view(x)) -> x where the shape is x's again, else Reshape(x, target) if one of the two is a Reshape."""
    middle = operator.inputs[0]
    before = graph.producer(middle)
    if before is None or not before.is_a(*VIEWS) or only_user(graph, middle) is not operator:
        return ()
    source, result = before.inputs[0], operator.outputs[0]
    if samples.same(source, result):
        return bypass(graph, operator, source)
    target = view_target(samples, source, result)
    if target is None or not (operator.is_a("Reshape", "Flatten") or before.is_a("Reshape", "Flatten")):
        return ()
    shape = graph.define(samples.fresh_name(graph, f"{operator.label}.shape"), np.array(target, np.int64))
    graph.replace(operator, Operator("Reshape", (source, shape), (result,), {}, operator.name, operator.domain))
    graph.remove(before)
    return (result,)


def narrow_shape(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Gather(Shape(x), {i}) -> Shape(x, start=i, end=i+1), from opset 15 on; Slice(Shape(x), {a}, {b}) likewise."""
    shape = graph.producer(operator.inputs[0])
    if graph.opset() < 15 or shape is None or not shape.is_a("Shape") or shape.attributes:
        return ()
    bounds = [graph.initializers.get(name) for name in operator.inputs[1:]]
    if not bounds or any(bound is None or bound.shape != (1,) for bound in bounds):
        return ()
    start, *others = (int(bound[0]) for bound in bounds if bound is not None)
    if operator.is_a("Gather"):
        end = None if start == -1 else start + 1
    elif others[2:] in ([], [1]):
        end = others[0] if abs(others[0]) < _UNBOUNDED else None
    else:
        return ()
    new = Operator("Shape", shape.inputs, operator.outputs, {}, operator.name)
    graph.replace(operator, new.with_attributes(start=start, end=end))
    return (operator.outputs[0],)


def _drop(graph: Graph, operator: Operator) -> tuple[str, ...]:
    return bypass(graph, operator, operator.inputs[0])


def _keeps_shape(samples: Samples, operator: Operator) -> bool:
    return samples.same(operator.inputs[0], operator.outputs[0])


def _is_used(graph: Graph, name: str) -> bool:
    return bool(name) and (name in graph.outputs or bool(graph.users(name)))


_UNBOUNDED = 1 << 16
"""No tensor has as many axes; exporters write larger numbers for "to the end"."""
_NOTHING = "operators that did nothing"
_TRANSPOSES = "Transposes merged or moved"
_VIEW_RULES: list[tuple[str, Rule]] = [
    (_NOTHING, drop_view),
    ("views merged", merge_views),
    ("shuffles made Gathers", gather_shuffle),
]
_RULES: dict[str, list[tuple[str, Rule]]] = {
    "Identity": [(_NOTHING, drop_identity)],
    "Dropout": [(_NOTHING, drop_dropout)],
    "Cast": [(_NOTHING, drop_cast)],
    "Pad": [(_NOTHING, drop_pad)],
    "Tile": [(_NOTHING, drop_tile)],
    "Slice": [(_NOTHING, drop_slice), ("Shapes narrowed", narrow_shape)],
    "Gather": [("Shapes narrowed", narrow_shape), ("strided views made Reshapes", view_strided)],
    "Expand": [(_NOTHING, drop_view), ("Expands left to their readers", drop_expand)],
    "ScatterND": [("writes of parts made Concats", write_slice)],
    "Resize": [(_NOTHING, drop_resize), ("sizes of Resizes made constant", fold_sizes)],
    "Transpose": [(_TRANSPOSES, merge_transposes), (_TRANSPOSES, lift_transpose)],
    **dict.fromkeys(VIEWS, _VIEW_RULES),
    **{kind: [(_NOTHING, drop_identity), (_TRANSPOSES, join_transposes)] for kind in ("Concat", "Sum", "Max", "Min")},
    **{kind: [(_TRANSPOSES, join_transposes)] for kind in ("Add", "Sub", "Mul", "Div", "Pow")},
    "Mean": [(_NOTHING, drop_identity)],
    **{kind: [("zero states dropped", drop_zero_state)] for kind in ("LSTM", "GRU", "RNN")},
}
