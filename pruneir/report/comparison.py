"""Two networks side by side: equal, equal to the masked one, or how far apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.data import Scaling, load_data
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.checks import Checker
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.prepare import folded, opened
from pruneir.pipeline.replay import is_mask, masked_by, read_plan, require_plan_of
from pruneir.report.document import SCHEMA
from pruneir.verify import Kind, Verification

_NAMED = 3

Sizes = Mapping[str, tuple[int | str, ...]]
_CLAIMS = {
    "equal": ("the outputs are equal", "the outputs DIFFER"),
    "masked": (
        "equal to the network with the plan's cuts set to zero",
        "DIFFERS from the network as the plan masks it",
    ),
    "drift": ("drift", "the outputs are not numbers"),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared, on what, and how it came out.

    note   what a plan was given for and could not be checked; empty if there is nothing to say
    """

    first: str
    second: str
    measured_on: str
    result: Verification
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the second network is what it should be."""
        return self.result.ok

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "schema": SCHEMA,
            "first": self.first,
            "second": self.second,
            "on": self.measured_on,
            "verify": self.result.to_json(),
            "note": self.note or None,
        }

    def table(self) -> Lines:
        """The same to read."""
        good, bad = _CLAIMS[self.result.kind]
        style = "" if self.result.kind == "drift" else "green" if self.ok else "bold red"
        head = Text(good if self.ok else bad, style=style)
        head.append(f", on {self.measured_on}", style="dim")
        shown = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        shown.add_column("output", overflow="fold")
        for name in ("largest", "mean", "max |a − b|"):
            shown.add_column(name, justify="right", no_wrap=True)
        shown.add_column("", style="dim", overflow="fold")
        for each in self.result.outputs:
            said = [] if each.at == (each.name,) else [f"compared at {', '.join(each.at)}"]
            if each.rounding:
                said.append(f"rounding, magnified: the weights' last bits make {numbers.error(each.magnified)}")
            elif each.equal and each.largest > self.result.tolerance:
                said.append("within tolerance, by its absolute part")
            figures = map(numbers.error, (each.largest, each.mean, each.difference))
            shown.add_row(each.name, *figures, "; ".join(said))
        return Lines(head, shown)


def comparison(
    first: str | Path,
    second: str | Path,
    *,
    plan: str | Path | None = None,
    data: str | Path | None = None,
    scaling: Scaling | None = None,
    input_shapes: Sizes | None = None,
    drift: bool = False,
    seed: int = 0,
) -> Comparison:
    """Compare two network files.

    plan   the second's plan: the first is masked as it says before it is compared
    drift  only measure, as is done where the plan does not say all (a pass absorbed what it cut)
    """
    shapes = input_shapes or {}
    a, b = opened(first, shapes), opened(second, shapes)
    if a.data_inputs != b.data_inputs or a.outputs != b.outputs:
        raise PruneirError(f"{first} and {second} differ in their interface: {_interface(a)} against {_interface(b)}")
    checker = Checker(load_data(data, a, scaling=scaling) if data else None, seed)
    cuts = read_plan(plan) if plan is not None else None
    kind: Kind = "drift" if drift else "equal"
    reference, note = a, ""
    if cuts is not None:
        require_plan_of(cuts, plan or "", (str(first), a), (str(second), b))
    if cuts is not None and not drift:
        cleaned = folded(a)
        kind = "masked" if is_mask(cuts, plan or "") else "drift"
        if kind == "masked":
            reference = masked_by(cleaned, cuts)
        else:
            note = _not_masked(cuts)
    return Comparison(str(first), str(second), checker.source, checker.compare(reference, b, kind), note)


def _not_masked(plan: Plan) -> str:
    names = sorted(plan.changed)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    into = f"absorbed constants into {', '.join(names[:_NAMED])}{more}" if names else "absorb constants"
    return f"not checked against the mask: the plan's passes {into}; drift only"


def _interface(graph: Graph) -> str:
    return f"{', '.join(graph.data_inputs)} → {', '.join(graph.outputs)}"
