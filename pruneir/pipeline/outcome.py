"""What came of a chain: the network, what each pass did to it, what it cost and costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pruneir.cost import Cost
from pruneir.detection.anchors import Anchors
from pruneir.errors import Refusal
from pruneir.graph import Graph
from pruneir.pipeline.passes import GroupRow, LayerRow, PhaseRow, Result
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.recipe import Recipe, Step
from pruneir.score import Score

if TYPE_CHECKING:
    from pruneir.verify import Verification

_ROUNDING = 1e-9
"""Points: 99.9 − 99.6 is more than 0.3 in binary."""


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


@dataclass(frozen=True, slots=True)
class Round:
    """What a round of the passes came to: its number from 1, the network's costs, and its score if there is one."""

    number: int
    macs: int
    params: int
    score: Score | None = None

    def loses(self, base: Score | None, allowed: float | None) -> bool:
        """Whether it has more points less than another score than is allowed; one that is no number has."""
        if base is None or allowed is None or self.score is None:
            return False
        return not base.points - self.score.points <= allowed + _ROUNDING


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
    base       score of the original; None where nothing was scored
    rounds     what each round came to; the network is that of the last one that did not lose too much
    taken      number of the round that the network is of
    anchors    of a detector, that were named
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
    base: Score | None = None
    rounds: tuple[Round, ...] = ()
    taken: int = 1
    anchors: Anchors | None = None

    @property
    def ok(self) -> bool:
        """Whether no verification failed, and no budget was missed."""
        checks = [*(record.check for record in self.records), self.drift]
        return self.missed is None and all(check is None or check.ok for check in checks)

    @cached_property
    def missed(self) -> str | None:
        """What budget the network misses, in words."""
        taken = next((each for each in self.rounds if each.number == self.taken), None)
        if taken is None or not taken.loses(self.base, self.recipe.max_drop):
            return None
        assert self.base is not None
        assert taken.score is not None
        lost = self.base.points - taken.score.points
        return f"{taken.score.kind} fell by {lost:.2f} points, more than max_drop={self.recipe.max_drop:g} allows"

    @property
    def resolved(self) -> Recipe:
        """The recipe, with the share that each pass cut from each group; rounds are written out."""
        asked = [record for records in self.by_round for record in records]
        steps = self.recipe.steps * self.taken
        return replace(self.recipe, steps=steps, rounds=1).resolved([record.result.rows for record in asked])

    @property
    def by_round(self) -> tuple[tuple[Record, ...], ...]:
        """The records of each round up to the one taken; a clean-up before the first is in none."""
        each = len(self.recipe.steps)
        first = len(self.records) - each * self.taken
        return tuple(self.records[first + each * number :][:each] for number in range(self.taken))

    @cached_property
    def rows(self) -> tuple[GroupRow, ...]:
        """The groups, from the first structured pass to the last: channels and MACs before the chain and after."""
        merged: dict[str, GroupRow] = {}
        for record in self.records:
            now = {row.name: row for row in record.result.rows}
            for name, row in now.items():
                merged[name] = merged[name].then(row) if name in merged else row
        return tuple(merged.values())

    @cached_property
    def layers(self) -> tuple[LayerRow, ...]:
        """The weights that passes set to zero, from the first such pass to the last."""
        merged: dict[str, LayerRow] = {}
        for record in self.records:
            for row in record.result.layers:
                first = merged.get(row.name, row)
                merged[row.name] = replace(row, weights=first.weights, before=first.before)
        return tuple(merged.values())

    @property
    def phases(self) -> tuple[PhaseRow, ...]:
        """The phases of passes that prune and train in turn, of the rounds that were taken."""
        return tuple(
            replace(row, round=number, step=step)
            for number, records in enumerate(self.by_round, 1)
            for step, record in enumerate(records, 1)
            for row in record.result.phases
        )

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


def _nothing_to_prune(outcome: Outcome) -> list[str]:
    """A warning for every structured pass that cut nothing, with its commonest reasons."""
    found = []
    for record in outcome.records:
        result = record.result
        if record.step.what.structured and not result.cuts and not result.changed:
            reasons = Counter(row.note or "the budget asks for no channel" for row in result.rows)
            reasons = reasons or Counter(refusal.reason for refusal in result.refusals)
            why = "; ".join(reason for reason, _ in reasons.most_common(3)) or "no channel is free"
            found.append(f"{record.step.what.name}: nothing to prune: {why}")
    return found
