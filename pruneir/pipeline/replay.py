"""A plan, carried out as a mask on the network that it was made for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pruneir.coupling import Use, couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.registry import parse_pass
from pruneir.verify.masking import without

Axes = Mapping[int, tuple[int, np.ndarray]]


def read_plan(path: str | Path) -> Plan:
    """The plan in a file."""
    try:
        return Plan.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise PruneirError(f"{path}: no such plan; check the path") from None
    except OSError as error:
        raise PruneirError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise PruneirError(f"{path}: not a plan; `pruneir optimize` writes one beside its output") from None
    except PruneirError as error:
        raise PruneirError(f"{path}: not a plan, since {error}; take it as `pruneir optimize` wrote it") from None


def is_mask(plan: Plan, path: str | Path = "the plan") -> bool:
    """Whether the plan alone says what the result computes: no pass changed what it left, or may have.

    PruneirError, naming the plan's file, for a pass that cannot be read.
    """
    try:
        return not plan.changed and not any(getattr(parse_pass(text), "absorb", False) for text in plan.passes)
    except PruneirError as error:
        raise PruneirError(f"{path}: {error}; give --drift to compare without the plan's passes") from None


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
    """The graph with everything that the plan cuts set to nothing: see `pruneir.verify.masking`."""
    coupling = couple(graph)
    single = {f"{use.name}@{use.operator.label}": use for use in coupling.traced.uses}
    gone: dict[Use, dict[int, np.ndarray]] = {}
    for key in sorted(plan.kept, key=lambda key: graph.constant(key) is None):  # what is said of one use comes last
        if key not in coupling.uses_of and key not in single:
            raise PruneirError(f"the plan cuts '{key}', which the network does not have; it was made for another one")
        for use in coupling.uses_of.get(key) or [single[key]]:
            gone[use] = _gone(graph, key, plan.kept[key], use)
    return without(coupling, lambda use: gone.get(use, {}))


def _gone(graph: Graph, key: str, axes: Axes, use: Use) -> dict[int, np.ndarray]:
    """The positions that an entry of a plan takes from a constant, by axis."""
    array = graph.constant(use.name)
    assert array is not None
    found = {}
    for axis, (size, kept) in axes.items():
        if axis >= array.ndim or array.shape[axis] != size:
            raise PruneirError(
                f"the plan has '{key}' with {size} positions on axis {axis}, the network has {array.shape}"
            )
        found[axis] = np.ones(size, bool)
        found[axis][kept] = False
    return found
