"""Compiling: the backend of a target makes an artifact of a graph, which is then held to its budgets."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pruneir.artifact import Artifact, Footprint
from pruneir.backend import Backend, backend_for, configured
from pruneir.deployment.budget import Budget, Miss
from pruneir.deployment.folder import filled, require_place
from pruneir.deployment.prepare import cleaned, with_fixed_sizes
from pruneir.graph import Graph
from pruneir.progress import Progress, silent
from pruneir.targets import Target

SCHEMA = 1
_ANY = Budget()


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came of `compile`.

    artifact   in its folder
    predicted  the memory that was expected before
    budget     the memory that there is
    measured   the memory that a run took; None before one
    """

    artifact: Artifact
    predicted: Footprint
    budget: Budget
    measured: Footprint | None = None

    @property
    def sizes(self) -> Footprint:
        """The memory that it takes, as well as that is known: how high the stack gets, only a run tells."""
        return self.measured or self.artifact.manifest.sizes

    @property
    def missed(self) -> tuple[Miss, ...]:
        """Budgets that do not suffice."""
        return self.budget.misses(self.sizes)

    @property
    def ok(self) -> bool:
        """Whether it fits."""
        return not self.missed

    def document(self, source: str | None = None) -> dict[str, Any]:
        """All of it as JSON, schema 1."""
        manifest = self.artifact.manifest
        return {
            "schema": SCHEMA,
            "input": source,
            "output": str(self.artifact.folder),
            "backend": manifest.backend,
            "target": manifest.target,
            **sizes_document(self.sizes),
            "predicted": sizes_document(self.predicted),
            "budget": asdict(self.budget),
            "weights": [each.document() for each in manifest.weights],
            "missed": [{**asdict(miss), "message": str(miss)} for miss in self.missed],
        }


@dataclass(frozen=True, slots=True)
class Compiler:
    """A backend, set up for one target."""

    backend: Backend
    target: Target

    @classmethod
    def of(cls, target: str, options: Mapping[str, Any] | None = None) -> Compiler:
        """That of a target, by name. PruneirError if there is none, or an option is unknown."""
        kind, machine = backend_for(target)
        return cls(configured(kind, options or {}), machine)

    def prepared(self, graph: Graph, *, fold: bool = True) -> Graph:
        """The graph as the backend gets it."""
        fixed = with_fixed_sizes(graph, self.target.name) if self.backend.static else graph
        return cleaned(fixed) if fold else fixed

    def compile(
        self,
        graph: Graph,
        folder: Path,
        *,
        budget: Budget = _ANY,
        fold: bool = True,
        force: bool = False,
        source: str | os.PathLike[str] | None = None,
        warn: Callable[[str], None] = lambda text: None,
        progress: Progress = silent,
    ) -> Compiled:
        """Compile a graph into a folder, which must be new, or with `force` an artifact.

        budget  a missed one keeps the artifact; what is not given is the target's
        fold    clean up first
        source  file of the graph, which must not lie in a folder that is replaced
        warn    told before the work begins of a budget that will not suffice
        """
        require_place(folder, source=source, force=force)
        budget = budget.or_of(self.target)
        progress("fold", 0.0)
        graph = self.prepared(graph, fold=fold)
        predicted = self.backend.predict(graph, self.target)
        for miss in budget.misses(predicted):
            if miss.needed is not None:
                warn(f"by prediction {miss.figures}")
        with filled(folder) as draft:
            self.backend.compile(
                graph, self.target, draft, progress=lambda text, share: progress(text, 0.1 + 0.9 * share)
            )
        return Compiled(self.backend.open(folder), predicted, budget)


def sizes_document(sizes: Footprint) -> dict[str, Any]:
    """Flash and RAM as JSON, with their totals; null where they are not known."""
    return {
        name: None if memory is None else {**asdict(memory), "total": memory.total}
        for name, memory in (("flash", sizes.flash), ("ram", sizes.ram))
    }
