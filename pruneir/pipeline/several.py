"""Several cuts of one pass, with training in between, as one result: their plan, their rows, and each to be checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pruneir.coupling import Coupling
from pruneir.coupling.engine import constants
from pruneir.explain.locks import locks
from pruneir.graph import Graph
from pruneir.pipeline.passes import PhaseRow, Result
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.structured import removing


class Several:
    """What was done so far to the network of a coupling.

    whole  the plan of the chain up to here
    """

    def __init__(self, coupling: Coupling, before: Plan):
        self.coupling, self.whole, self._own = coupling, before, Plan()
        self._rows = {row.name: row for row in removing(coupling, {}, {}).rows}
        self._cutting: list[tuple[Graph, Result]] = []

    def cut(self, before: Graph, result: Result) -> None:
        """A network was cut."""
        sizes = {name: array.shape for name, array in constants(before).items()}
        self._own, self.whole = (
            plan.then(result.cuts, sizes, result.changed, "", copies=result.copies) for plan in (self._own, self.whole)
        )
        self._rows |= {row.name: self._rows[row.name].then(row) for row in result.rows if row.name in self._rows}
        self._cutting.append((before, result))

    def trained(self, changed: frozenset[str]) -> None:
        """Some tensors got other values."""
        self._own = self._own.then({}, {}, changed, "")

    def result(self, graph: Graph, why: Mapping[str, str], phases: Sequence[PhaseRow], notes: Sequence[str]) -> Result:
        """All of it, as done by one pass.

        graph  the network that it led to
        why    by name, what is to be said of a group
        """
        there, plan = constants(self.coupling.graph), self._own
        kept = {name: axes for name, axes in plan.kept.items() if plan.copies.get(name, name) in there}
        return Result(
            graph=graph,
            rows=tuple(replace(row, note=why.get(row.name, "")) for row in self._rows.values()),
            phases=tuple(phases),
            refusals=tuple(locks(self.coupling)),
            notes=tuple(notes),
            cuts={name: {axis: left for axis, (_, left) in axes.items()} for name, axes in kept.items()},
            copies={name: source for name, source in plan.copies.items() if name in kept},
            changed=frozenset(name for name in plan.changed if name in graph.network),
            cutting=tuple(self._cutting),
        )
