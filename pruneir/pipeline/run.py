"""Running a chain: each pass gets the graph as it is, and is held to its word.

    original ──fold──▶ graph ──pass──▶ graph … ──▶ final

A lossless pass must leave the outputs equal; a lossy one must equal the uncut network that it names as its reference.
At the end the drift of the final outputs against the original's is measured. Without verification none of this runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pruneir.cost import Cost, cost
from pruneir.coupling.engine import constants
from pruneir.data import Data
from pruneir.detection.anchors import given_anchors
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.graph.check import check
from pruneir.names import require_matches
from pruneir.onnx_io import inline_functions
from pruneir.pipeline import registry
from pruneir.pipeline.checks import Checker
from pruneir.pipeline.outcome import Outcome, Record, Round
from pruneir.pipeline.passes import Context, Couplings, Kept, Result, Uncut
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.recipe import Recipe, Step
from pruneir.progress import Progress, silent
from pruneir.score import Score, score, unread
from pruneir.targets import target

if TYPE_CHECKING:
    from pruneir.pipeline.journal import Journal


def run(
    graph: Graph,
    recipe: Recipe,
    *,
    data: Data | None = None,
    validation: Data | None = None,
    verify: bool = True,
    progress: Progress | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> Outcome:
    """Run a recipe's passes over a graph, which is not changed.

    data         samples to calibrate, train, verify and measure on
    validation   samples to choose on, where a pass or a schedule does
    checkpoints  a folder to write every round down in; with `resume` a run that was stopped goes on from there
    """
    if recipe.max_drop is not None and not recipe.max_drop >= 0:
        raise PruneirError(f"max_drop={recipe.max_drop:g} is not a number of points from 0 up")
    if recipe.max_drop is not None and validation is None and data is None:
        raise PruneirError("max_drop is of the score on samples; give --val, or --data")
    journal = None
    if checkpoints is not None:
        from pruneir.pipeline.journal import Journal, fingerprint  # noqa: PLC0415 - few runs need one

        mark = fingerprint(graph, recipe, {"data": data, "validation": validation})
        journal = Journal.opened(checkpoints, mark, resume=resume)
    return _Chain(graph, recipe, data, validation, verify, progress or silent, journal).run()


class _Chain:
    def __init__(
        self,
        graph: Graph,
        recipe: Recipe,
        data: Data | None,
        validation: Data | None,
        verify: bool,
        progress: Progress,
        journal: Journal | None,
    ):
        self.original, self.recipe, self.data, self.validation = graph, recipe, data, validation
        self.progress, self.journal = progress, journal
        self.checker = Checker(data, recipe.seed) if verify else None
        self.couplings = Couplings()
        self.anchors = given_anchors(recipe.anchors_file)
        self.target = target(recipe.target)
        self.before: Cost | None = None
        self.plan = Plan()
        self.records: tuple[Record, ...] = ()
        self.uncut: Uncut | None = None
        self.settled = True
        """Whether what was cut has been repaired or trained since."""
        self.place: Path | None = None
        self.done, self.all = 0, recipe.rounds * len(recipe.steps) + 2

    def run(self) -> Outcome:
        """The clean-up, the rounds, and the drift at the end."""
        recipe = self.recipe
        graph = self.original
        if recipe.fold and not (recipe.steps and recipe.steps[0].what.name == "fold"):
            graph = self._pass(graph, Step(registry.get("fold")()))
        scored = recipe.max_drop is not None or recipe.rounds > 1
        base = self._score(self.original) if scored else None
        rounds: list[Round] = []
        for number in range(1, recipe.rounds + 1):
            before = (graph, self.plan, self.records)
            graph, reached = self._round(graph, number, scored)
            rounds.append(reached)
            if reached.loses(base, recipe.max_drop):
                if number > 1:
                    graph, self.plan, self.records = before
                break
        taken = len(rounds) - (len(rounds) > 1 and rounds[-1].loses(base, recipe.max_drop))
        self.progress("measuring", 1 - 1 / self.all)
        return Outcome(
            original=self.original,
            graph=graph,
            recipe=recipe,
            records=self.records,
            plan=self.plan.within(inline_functions(self.original).network),
            before=self.before or self._measured(graph),
            after=cost(self.couplings.of(graph)),
            drift=self.checker.drift(self.original, graph) if self.checker else None,
            measured_on=self.checker.source if self.checker else "",
            data_warnings=self._warnings(),
            base=base,
            rounds=tuple(rounds) if scored else (),
            taken=taken,
            anchors=self.anchors,
        )

    def _round(self, graph: Graph, number: int, scored: bool) -> tuple[Graph, Round]:
        """All passes once, or what the journal holds of them."""
        self.uncut, self.settled = None, True
        steps = self.recipe.steps
        kept = self.journal.restored(self.records, steps, number) if self.journal else None
        if kept is not None:
            self.before = self.before or self._measured(graph)
            self.plan, self.records = kept.plan, kept.records
            self.done += len(steps)
            return kept.graph, kept.reached
        for index, step in enumerate(steps, 1):
            self.place = self.journal.at(number, index) if self.journal else None
            graph = self._pass(graph, step, f"round {number}, " if self.recipe.rounds > 1 else "")
        now = cost(self.couplings.of(graph))
        reached = Round(number, now.macs, now.params, self._score(graph) if scored else None)
        if self.journal:
            from pruneir.pipeline.journal import State  # noqa: PLC0415

            self.journal.keep(State(reached, graph, self.plan, self.records), len(steps))
            self.journal.log(
                f"round {number}: {now.macs:,} MACs, {now.params:,} parameters, {reached.score or 'not scored'}"
            )
        return graph, reached

    def _score(self, graph: Graph) -> Score | None:
        samples = self.validation or self.data
        return score(graph, samples, self.original, anchors=self.anchors) if samples is not None else None

    def _warnings(self) -> tuple[str, ...]:
        """What one should know of the samples."""
        samples = self.validation or self.data
        unscored = unread([self.original], samples) if samples is not None and self.anchors is None else ""
        return (*(self.data.warnings if self.data else ()), *filter(None, [unscored]))

    def _pass(self, graph: Graph, step: Step, where: str = "") -> Graph:
        """One pass, checked and written down."""
        if self.before is None and step.what.name != "fold":
            self.before = self._measured(graph)
        share = self.done / self.all
        self.progress(f"{where}{step.what.name}", share)
        record = self._step(graph, step, where, share)
        if self.checker:
            self.progress(f"{where}checking {step.what.name}", share + 0.9 / self.all)
            check(record.result.graph)
            record = replace(record, check=self.checker.check(step.what, graph, record.result))
        if self.journal:
            said = "; ".join((*_cut(record.result), *record.result.notes))
            self.journal.log(f"{where}{step.what}, {record.seconds:.1f} s" + (f": {said}" if said else ""))
        self.records += (record,)
        self.done += 1
        return record.result.graph

    def _step(self, graph: Graph, step: Step, where: str, done: float) -> Record:
        """The pass's own work, not yet checked."""
        require_matches("ratios", step.ratios, _names(graph) if step.ratios else ())
        start = time.perf_counter()
        try:
            result = step.what.run(graph, self._context(step, where, done))
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
        elif step.what.lossy and result.changed and not result.layers:
            self.settled = True

    def _context(self, step: Step, where: str, done: float) -> Context:
        recipe = self.recipe
        return Context(
            original=self.original,
            plan=self.plan,
            uncut=self.uncut,
            data=self.data,
            validation=self.validation,
            seed=recipe.seed,
            progress=lambda what, share: self.progress(f"{where}{what}", done + 0.9 * share / self.all),
            target=self.target,
            keep=recipe.keep,
            keep_inputs=recipe.keep_inputs,
            only=recipe.only,
            ratios={**recipe.ratios, **step.ratios},
            couplings=self.couplings,
            checkpoints=self.place,
            anchors=self.anchors,
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


def _cut(result: Result) -> Iterator[str]:
    """The channels that a structured pass found and left, in words."""
    if result.rows:
        before, after = (sum(getattr(row, f"channels_{when}") for row in result.rows) for when in ("before", "after"))
        yield f"{before:,} → {after:,} channels"


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
