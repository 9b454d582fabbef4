"""Running a chain: each pass gets the graph as it is, and is held to its word.

    original ──fold──▶ graph ──pass──▶ graph … ──▶ final

A lossless pass must leave the outputs equal; a lossy one must equal the uncut network that it names as its reference.
At the end the drift of the final outputs against the original's is measured. Without verification none of this runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pruneir.cost import Cost, cost
from pruneir.coupling.engine import constants
from pruneir.data import Data
from pruneir.errors import PruneirError, Refusal
from pruneir.graph import Graph
from pruneir.graph.check import check
from pruneir.pipeline import registry
from pruneir.pipeline.checks import Checker
from pruneir.pipeline.passes import Context, Couplings, GroupRow, Kept, Result, Uncut
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.recipe import Recipe, Step
from pruneir.targets import target

if TYPE_CHECKING:
    from pruneir.verify import Verification

Progress = Callable[[str, float], None]
"""Told what begins, and the share of the run that is done."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one pass of the chain did.

    step     the pass as it was configured
    result   what it gave back
    check    whether it kept its word; None without verification
    seconds  time that the pass itself took
    """

    step: Step
    result: Result
    check: Verification | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What came of a chain.

    original   the network that was given
    graph      the network at the end
    recipe     what was asked for; `resolved` says what came of it
    plan       everything that was cut, in the original's indices
    before, after   costs, after the lossless clean-up and at the end
    drift      of the final outputs against the original's; None without verification
    measured_on   what the drift was measured on, in words
    """

    original: Graph
    graph: Graph
    recipe: Recipe
    records: tuple[Record, ...]
    plan: Plan
    before: Cost
    after: Cost
    drift: Verification | None
    measured_on: str
    data_warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no verification failed."""
        checks = [*(record.check for record in self.records), self.drift]
        return all(check is None or check.ok for check in checks)

    @property
    def resolved(self) -> Recipe:
        """The recipe, with the share that each pass cut from each group."""
        asked = self.records[len(self.records) - len(self.recipe.steps) :]
        return self.recipe.resolved([record.result.rows for record in asked])

    @cached_property
    def rows(self) -> tuple[GroupRow, ...]:
        """The groups, from the first structured pass to the last: channels and MACs before the chain and after."""
        merged: dict[str, GroupRow] = {}
        for record in self.records:
            now = {row.name: row for row in record.result.rows}
            for name, row in now.items():
                merged[name] = _joined(merged[name], row) if name in merged else row
        return tuple(merged.values())

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What was left alone, and why, each reason once."""
        return tuple(dict.fromkeys(refusal for record in self.records for refusal in record.result.refusals))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the passes have to say."""
        return tuple(f"{r.step.what.name}: {note}" for r in self.records for note in r.result.notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know although nothing failed."""
        return (*self.data_warnings, *_nothing_to_prune(self))


def run(
    graph: Graph,
    recipe: Recipe,
    *,
    data: Data | None = None,
    validation: Data | None = None,
    verify: bool = True,
    progress: Progress | None = None,
) -> Outcome:
    """Run a recipe's passes over a graph, which is not changed.

    data        samples to calibrate, train, verify and measure on
    validation  samples to choose on, where a pass or a schedule does
    """
    return _Chain(graph, recipe, data, validation, verify, progress or (lambda stage, share: None)).run()


class _Chain:
    def __init__(
        self,
        graph: Graph,
        recipe: Recipe,
        data: Data | None,
        validation: Data | None,
        verify: bool,
        progress: Progress,
    ):
        self.original, self.recipe, self.data, self.validation = graph, recipe, data, validation
        self.progress = progress
        self.checker = Checker(data, recipe.seed) if verify else None
        self.couplings = Couplings()
        self.target = target(recipe.target)
        self.plan = Plan()
        self.uncut: Uncut | None = None
        self.settled = True
        """Whether what was cut has been repaired or trained since."""

    def run(self) -> Outcome:
        graph, before = self.original, None
        records = []
        steps = _with_fold(self.recipe)
        for index, step in enumerate(steps):
            if before is None and step.what.name != "fold":
                before = self._measured(graph)
            share = index / (len(steps) + 1)
            self.progress(step.what.name, share)
            record = self._step(graph, step, share, 0.5 / (len(steps) + 1))
            if self.checker:
                self.progress(f"checking {step.what.name}", (index + 0.5) / (len(steps) + 1))
                check(record.result.graph)
                record = replace(record, check=self.checker.check(step.what, graph, record.result))
            graph = record.result.graph
            records.append(record)
        before = before or self._measured(graph)
        self.progress("measuring", len(steps) / (len(steps) + 1))
        return Outcome(
            original=self.original,
            graph=graph,
            recipe=self.recipe,
            records=tuple(records),
            plan=self.plan.within(self.original.network),
            before=before,
            after=cost(self.couplings.of(graph)),
            drift=self.checker.drift(self.original, graph) if self.checker else None,
            measured_on=self.checker.source if self.checker else "",
            data_warnings=self.data.warnings if self.data else (),
        )

    def _step(self, graph: Graph, step: Step, done: float, part: float) -> Record:
        """The pass's own work, not yet checked."""
        require_matches("ratios", step.ratios, _names(graph) if step.ratios else ())
        start = time.perf_counter()
        try:
            context = replace(
                self._context(step), progress=lambda what, share: self.progress(what, done + part * share)
            )
            result = step.what.run(graph, context)
        except Exception as error:
            error.add_note(
                f"in pass {step.what}" + (f", after {', '.join(self.plan.passes)}" if self.plan.passes else "")
            )
            raise
        seconds = time.perf_counter() - start
        sizes = {name: array.shape for name, array in constants(graph).items()} if result.cuts else {}
        self.plan = self.plan.then(result.cuts, sizes, result.changed, str(step.what), result.follows, result.copies)
        self._remember(graph, step, result)
        return Record(step, result, None, seconds)

    def _remember(self, graph: Graph, step: Step, result: Result) -> None:
        """Keep the uncut network for as long as passes cut, and let go of it at the first cut after a repair."""
        if result.cuts and result.kept is not None:
            before = None if self.settled else self.uncut
            self.uncut = (
                Uncut(before.graph, _composed(before.kept, result.kept)) if before else Uncut(graph, result.kept)
            )
            self.settled = False
        elif step.what.lossy and result.changed:
            self.settled = True

    def _context(self, step: Step) -> Context:
        recipe = self.recipe
        return Context(
            original=self.original,
            plan=self.plan,
            uncut=self.uncut,
            data=self.data,
            validation=self.validation,
            seed=recipe.seed,
            target=self.target,
            keep=recipe.keep,
            keep_inputs=recipe.keep_inputs,
            only=recipe.only,
            ratios={**recipe.ratios, **step.ratios},
            couplings=self.couplings,
        )

    def _measured(self, graph: Graph) -> Cost:
        """The cost before the chain. By then every glob must name something, in the file or after the clean-up."""
        recipe = self.recipe
        globs = {"--keep": recipe.keep, "--keep-inputs": recipe.keep_inputs, "--only": recipe.only}
        globs["--ratio"] = tuple(recipe.ratios)
        if any(globs.values()):
            known = _names(self.original) | _names(graph)
            for flag, given in globs.items():
                require_matches(flag, given, known)
        return cost(self.couplings.of(graph))


def require_matches(flag: str, globs: Iterable[str], names: Iterable[str]) -> None:
    """PruneirError, with near matches, for a glob that matches none of the names."""
    known = list(names)
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in known):
            hint = registry.did_you_mean(glob, known, "") if known else ""
            raise PruneirError(f"{flag}: nothing is called '{glob}'" + (f"; {hint}" if hint.endswith("?") else ""))


def _with_fold(recipe: Recipe) -> Sequence[Step]:
    if not recipe.fold or (recipe.steps and recipe.steps[0].what.name == "fold"):
        return recipe.steps
    return (Step(registry.get("fold")()), *recipe.steps)


def _composed(first: Callable[[], Kept], then: Callable[[], Kept]) -> Callable[[], Kept]:
    """What two passes, one after the other, leave of each value, in the indices that it had at first."""

    def kept() -> Kept:
        found = {name: dict(axes) for name, axes in first().items()}
        for name, axes in then().items():
            entry = found.setdefault(name, {})
            for axis, positions in axes.items():
                entry[axis] = entry[axis][positions] if axis in entry else positions
        return found

    return cache(kept)


def _names(graph: Graph) -> set[str]:
    """What a glob may match: tensors and nodes; a group is called as one of its nodes."""
    return {*graph.values, *(operator.label for operator in graph.operators)}


def _joined(first: GroupRow, last: GroupRow) -> GroupRow:
    return GroupRow(
        last.name,
        last.members,
        first.channels_before,
        last.channels_after,
        first.macs_before,
        last.macs_after,
        last.note,
    )


def _nothing_to_prune(outcome: Outcome) -> list[str]:
    """A warning for every structured pass that cut nothing, with its commonest reasons."""
    found = []
    for record in outcome.records:
        result = record.result
        if record.step.what.lossy and not result.cuts and not result.changed:
            reasons = Counter(row.note or "the budget asks for no channel" for row in result.rows)
            reasons = reasons or Counter(refusal.reason for refusal in result.refusals)
            why = "; ".join(reason for reason, _ in reasons.most_common(3)) or "no channel is free"
            found.append(f"{record.step.what.name}: nothing to prune: {why}")
    return found
