"""A plan, carried out as a mask on the network that it was made for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pruneir.coupling import Use, couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.registry import parse_pass
from pruneir.verify.reference import _TO_ONE as TO_ONE
from pruneir.verify.tolerance import is_float

Axes = Mapping[int, tuple[int, np.ndarray]]


def read_plan(path: str | Path) -> Plan:
    """The plan in a file."""
    try:
        return Plan.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise PruneirError(f"{path}: no such plan; check the path") from None
    except OSError as error:
        raise PruneirError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PruneirError(f"{path}: not a plan; `pruneir optimize` writes one beside its output") from None


def is_mask(plan: Plan) -> bool:
    """Whether the plan alone says what the result computes: no pass changed what it left, or may have."""
    return not plan.changed and not any(getattr(parse_pass(text), "absorb", False) for text in plan.passes)


def require_plan_of(plan: Plan, path: str | Path, before: tuple[str, Graph], after: tuple[str, Graph]) -> None:
    """PruneirError unless the plan has the names and sizes of the first graph, and leaves those of the second."""
    for key, axes in plan.kept.items():
        name = key if key in before[1].network else key.rpartition("@")[0] or key
        if name not in before[1].network:
            raise PruneirError(f"{path} is not a plan of {before[0]}: that has no '{name}'")
        whole = {axis: size for axis, (size, _) in axes.items()}
        _require(before[1], name, whole, f"{path} is not a plan of {before[0]}")
        left = {axis: len(kept) for axis, (_, kept) in axes.items()}
        _require(after[1], key, left, f"{after[0]} is not what {path} leaves")


def _require(graph: Graph, name: str, sizes: Mapping[int, int], wrong: str) -> None:
    """PruneirError where a constant of that name has other sizes; what is no constant says nothing."""
    array = graph.constant(name)
    for axis, size in sizes.items() if array is not None else ():
        assert array is not None
        if axis >= array.ndim or array.shape[axis] != size:
            raise PruneirError(f"{wrong}: '{name}' is {list(array.shape)}, the plan has {size} on axis {axis}")


def masked_by(graph: Graph, plan: Plan) -> Graph:
    """The graph with everything that the plan cuts set to zero, or to one where it divides or is an exponent."""
    copy = graph.copy()
    uses = couple(graph).traced.uses
    rewired: dict[Operator, Operator] = {}
    for key, axes in plan.kept.items():
        here = list(_uses(graph, uses, key))
        if not here:
            raise PruneirError(f"the plan cuts '{key}', which the network does not have; it was made for another one")
        name = here[0].name
        array = graph.constant(name)
        assert array is not None
        if not is_float(array.dtype):
            continue
        masked = [_masked(array, key, axes, use) for use in here]
        if key == name and all(np.array_equal(each, masked[0]) for each in masked):
            _set(copy, name, masked[0])
            continue
        for use, each in zip(here, masked, strict=True):
            fresh = copy.fresh_name(f"{name}@{use.operator.label}")
            copy.set_initializer(fresh, each)
            rewired[use.operator] = rewired.get(use.operator, use.operator).with_input(use.slot, fresh)
    for old, new in rewired.items():
        copy.replace(old, new)
    return copy


def _uses(graph: Graph, uses: list[Use], key: str) -> Iterator[Use]:
    """The uses that an entry of a plan means: all of `NAME`, or that of `NAME@NODE`."""
    if graph.constant(key) is not None:
        yield from (use for use in uses if use.name == key)
        return
    for use in uses:
        if key == f"{use.name}@{use.operator.label}":
            yield use


def _masked(array: np.ndarray, key: str, axes: Axes, use: Use) -> np.ndarray:
    array = array.copy()
    for axis, (size, kept) in axes.items():
        if axis >= array.ndim or array.shape[axis] != size:
            raise PruneirError(
                f"the plan has '{key}' with {size} positions on axis {axis}, the network has {array.shape}"
            )
        gone = np.ones(size, bool)
        gone[kept] = False
        array[(slice(None),) * axis + (gone,)] = 1 if use.roles.get(axis) in TO_ONE else 0
    return array


def _set(graph: Graph, name: str, array: np.ndarray) -> None:
    """Define a constant; one that a Constant operator held becomes an initializer."""
    producer = graph.producer(name)
    if producer is not None:
        graph.remove(producer)
    graph.set_initializer(name, array)
    if name not in graph.inputs:
        graph.header.ir_version = max(graph.header.ir_version, 4)
