"""Multi-layer pruning in phases, made for SSD: the zeros on both sides of a filter tell whether it goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pruneir.conflicts import Exclusive
from pruneir.cost import cost
from pruneir.coupling import Coupling, Group, couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Pass, PhaseRow, Result
from pruneir.pipeline.several import Several
from pruneir.pipeline.structured import removing, restrictions
from pruneir.score import Score, score
from pruneir.selection import Budget, candidates
from pruneir.selection.choose import Removed, why_not_more
from pruneir.selection.phases import by_globs, by_size
from pruneir.selection.shares import Shares
from pruneir.sparsity import filters
from pruneir.sparsity.nodes import WeightCounter
from pruneir.sparsity.weights import Weight
from pruneir.training.extra import require_torch
from pruneir.training.options import Training

if TYPE_CHECKING:
    from pruneir.training.network import Network
    from pruneir.training.penalties import Masks, Penalties

_STEPS = 7
"""Of the bisection for a threshold, which finds the share of small weights to 1 %."""
_GRID = 20
"""τ is one of those at which 0, 1, 2 … of so many parts of a phase's channels go."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Ssd(Training, Pass):
    """Multi-layer pruning of SSD (Singh et al., WACV 2019): in phases, by the zeros on both sides of every filter.

    The groups of channels are split into phases, front to back. For each phase, with L the weights that make its
    channels and all weights that read them (of trunk, loc and conf alike):

    1. train with an L1 penalty on L, which gives Θ
    2. one threshold for all of L, the largest with which the network loses no more than `tolerance`: what is below
       counts as zero from here on, but stays in the network
    3. of every channel, the share of zeros among the weights that make it, and among those that read it; channels with
       a share of τ or more on either side are cut from Θ. τ is the smallest of a grid with which the network loses no
       more than `cut_tolerance`
    4. retrain without the penalty

    Both losses are in points of the score against Θ's, on --val, or on --data without it: mAP where labels are boxes,
    accuracy where they are classes; without labels agreement with the network that the chain began with, or fidelity
    to it where outputs are no scores of classes.

    phases         how many, of about as many weights each; or a list with the groups of each, `GLOB` or `GLOB;GLOB`:
                   the groups that match none stay; a phase of which nothing may be cut is skipped
    induction      epochs of sparsity training in a phase
    epochs         of retraining in a phase
    l1_weights     weight λ of the L1 penalty in sparsity training; adamw, whose steps have one size, wants it a few
                   hundred times larger than sgd
    tolerance      points that the threshold may cost
    cut_tolerance  points that a phase's cut may cost before retraining
    params         instead of `cut_tolerance`: share of L's weights that a phase's cut may leave; τ is then the largest
                   with which it leaves no more. A share that is out of reach is refused before anything is trained
    zeros          instead of both: τ, the share of zeros from which on a channel goes, 0–1
    max_per_group  largest share cut from one group
    absorb         fold the constant that a cut channel leaves into its consumers
    samples        how many samples the threshold and τ are chosen on, at most, drawn at random
    trained_on     how many samples each training is on, at most, drawn anew each time; none: all

    All options of `train` hold for both trainings, and have its defaults but for `epochs`, `l1_weights` and
    `keep_zeros`. The penalty is on those weights of L that are trained, by `freeze` and `only`, and, if `l1_at` is
    given, that it matches. `--ratio` gives the share that goes from what a glob matches, by the same order. Needs
    samples to train on, and the extra `train`. Example:
    `--pass 'ssd{loss=multibox,anchors=anchors.npy}' --data train.npz --val val.npz`.
    """

    name = "ssd"
    lossy = True
    structured = True
    exclusive: ClassVar[Exclusive] = (("cut_tolerance", "params"), ("cut_tolerance", "zeros"), ("params", "zeros"))
    epochs: int = 1
    l1_weights: float = 0.001
    keep_zeros: bool = False
    phases: int | tuple[str, ...] = 4
    induction: int = 1
    tolerance: float = 2.0
    cut_tolerance: float = 20.0
    params: float | None = None
    zeros: float | None = None
    max_per_group: float = 0.75
    absorb: bool = True
    samples: int = 1024
    trained_on: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        count = self.phases if isinstance(self.phases, int) else len(self.phases)
        counts = {name: getattr(self, name) for name in ("induction", "samples", "trained_on")}
        for name, value in {"phases": count, **counts}.items():
            if value is not None and value < 1:
                raise PruneirError(f"pass ssd: {name}={value} is less than 1")
        for name in ("tolerance", "cut_tolerance"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise PruneirError(f"pass ssd: {name}={getattr(self, name):g} is not a number of points from 0 up")
        for name in ("params", "zeros", "max_per_group"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise PruneirError(f"pass ssd: {name}={value:g} is not a share between 0 and 1")

    def run(self, graph: Graph, context: Context) -> Result:
        """Train, cut and retrain, phase by phase."""
        require_torch()
        if context.data is None:
            raise PruneirError("pass ssd trains before and after every cut; give samples with --data")
        running = _Running(self, graph, context)
        for names in running.names:
            running.phase(names)
        return running.several.result(running.graph, running.why, running.done, running.notes)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A cut of a phase: its τ, what it is and makes, and what the network then scores."""

    zeros: float | None
    removed: Removed
    result: Result
    score: Score


class _Running:
    """What phases have made of a network so far."""

    def __init__(self, what: Ssd, graph: Graph, context: Context):
        self.what, self.context, self.graph = what, context, graph
        judged = context.validation if context.validation is not None else context.data
        assert judged is not None
        self.judged = judged.some(what.samples, context.seed)
        first = context.couplings.of(graph)
        self.notes = [] if context.validation is not None else ["t and τ are chosen on samples of --data; give --val"]
        self.earlier = sum(text.partition("{")[0] == what.name for text in context.plan.passes)
        self.names, self.why = self._planned(first)
        self.several, self.done = Several(first, context.plan), list[PhaseRow]()

    def _planned(self, coupling: Coupling) -> tuple[list[list[str]], dict[str, str]]:
        """The names of the groups of each phase, and why others are in none.

        PruneirError for a list that does not fit, and for `params` that is out of reach.
        """
        found, why = candidates(coupling, self.context)
        unjudged = {group.name for group in found if not filters.layers_of(coupling, [group])}
        why |= dict.fromkeys(unjudged, "no matrix or kernel makes or reads it")
        groups, given = [group for group in found if group.name not in unjudged], self.what.phases
        phases = by_size(coupling, groups, given) if isinstance(given, int) else self._listed(coupling, given, why)
        self._require_reach(coupling, phases)
        names = [[group.name for group in phase] for phase in phases]
        why |= {group.name: "in no phase" for group in groups}
        return names, {name: reason for name, reason in why.items() if not any(name in phase for phase in names)}

    def _listed(self, coupling: Coupling, given: Sequence[str], why: Mapping[str, str]) -> list[list[Group]]:
        """What may be cut of the phases of a list; one of which nothing may is skipped, and told."""
        phases = by_globs(coupling.groups, given, couple(self.context.original).groups)
        free = [[group for group in phase if group.name not in why] for phase in phases]
        for text, phase, some in zip(given, phases, free, strict=True):
            if not some:
                reasons = [f"{group.name}: {why[group.name]}" for group in phase] or ["earlier cuts left one channel"]
                self.notes.append(f"phase '{text}' is skipped; {'; '.join(reasons)}")
        return list(filter(None, free))

    def _require_reach(self, coupling: Coupling, phases: Sequence[Sequence[Group]]) -> None:
        """PruneirError where the largest cut of a phase, behind those of earlier ones, leaves more than `params`.

        None in a later round or pass, whose phases say so: what the first ones reached is not to be lost.
        """
        most, gone = self.what.params, Removed()
        if most is None or self.earlier:
            return
        for groups in phases:
            budget, counter = self._budget(groups), WeightCounter(coupling, filters.layers_of(coupling, groups))
            largest = gone | Shares({group: np.ones(len(group)) for group in groups}, budget).removed(1.0)
            left = counter.left(largest) / counter.left(gone)
            if left > most and not budget.ratios.keys() >= set(groups):
                names = ", ".join(group.name for group in groups)
                loosen = "".join(f", loosen {flag}" for flag in restrictions(budget, {}))
                raise PruneirError(
                    f"pass ssd: params={most:g} is out of reach: the largest cut of {names} leaves {left:.3g} of the "
                    f"weights; raise params or max_per_group{loosen}"
                )
            gone = largest

    def phase(self, names: Sequence[str]) -> None:
        """Sparsity training, the threshold, the cut and retraining of the groups of some names."""
        what = self.what
        layers = filters.layers_of(*self._groups(self.graph, names))
        sparse = self._trained("sparsity training", 0.0, replace(what, epochs=what.induction), layers)
        coupling, groups = self._groups(sparse, names)
        layers = filters.layers_of(coupling, groups)
        induced = self._score("threshold", 0.45, sparse)

        def bears(threshold: float) -> bool:
            found = self._score("threshold", 0.45, filters.below(sparse, layers, threshold))
            return induced.points - found.points <= what.tolerance + _ROUNDING

        threshold = filters.largest_threshold(layers, bears, _STEPS)
        budget = self._budget(groups)
        zeros = {group: filters.zeros(coupling, group, layers, threshold).either for group in groups}
        cut = self._chosen(coupling, Shares(zeros, budget), induced)
        self.why |= why_not_more(groups, cut.removed, budget)
        self.several.cut(sparse, cut.result)
        self.graph = cut.result.graph
        self.graph = self._trained("retraining", 0.6, replace(what, l1_weights=0.0, l1_at=()))
        costs = cost(couple(self.graph))
        every = np.concatenate([np.abs(weight.array).ravel() for weight in layers])
        row = PhaseRow(
            name=self._label,
            layers=tuple(weight.layer for weight in layers),
            threshold=threshold,
            small=float(((every < threshold) | (every == 0)).mean()),
            zeros=cut.zeros,
            channels_before=sum(map(len, groups)),
            channels_after=sum(map(len, groups)) - sum(map(len, cut.removed.values())),
            macs=costs.macs,
            params=costs.params,
            induced=induced,
            cut=cut.score,
            retrained=self._score("retraining", 1.0, self.graph),
        )
        self.done.append(row)

    # The cut

    def _chosen(self, coupling: Coupling, shares: Shares, induced: Score) -> _Cut:
        """The cut at the τ that the options ask for: given, by a budget, or the smallest that the network bears."""
        what, tried = self.what, dict[float | None, _Cut]()

        def cut(least: float | None) -> _Cut:
            if least not in tried:
                removed = shares.removed(least)
                result = removing(coupling, removed, {}, absorb_held=what.absorb)
                tried[least] = _Cut(least, removed, result, self._score("cut", 0.55, result.graph))
            return tried[least]

        if not len(shares.ranked):
            return cut(None)
        if what.zeros is not None:
            return cut(what.zeros)
        if what.params is not None:
            counter = WeightCounter(coupling, filters.layers_of(coupling, shares.of))
            goal = what.params * counter.total
            found = cut(shares.largest(lambda removed: counter.left(removed) <= goal))
            if (left := counter.left(found.removed)) > goal:  # as far as what earlier phases left lets it
                told = f"the largest cut leaves {left / counter.total:.3g} of its weights"
                self.notes.append(f"{self._label}: params={what.params:g} is missed: {told}")
            return found
        worst = induced.points - what.cut_tolerance - _ROUNDING
        return cut(shares.smallest(lambda least: cut(least).score.points >= worst, _GRID))

    def _budget(self, groups: Sequence[Group]) -> Budget:
        """What options say of some groups."""
        return Budget.of(self.context, groups, max_per_group=self.what.max_per_group)

    def _groups(self, graph: Graph, names: Sequence[str]) -> tuple[Coupling, list[Group]]:
        """The coupling of a network, and its groups of some names that may be cut."""
        coupling = couple(graph)
        return coupling, [group for group in candidates(coupling, self.context)[0] if group.name in names]

    # Training and scoring

    def _trained(self, stage: str, share: float, training: Training, layers: Sequence[Weight] = ()) -> Graph:
        """The network after a training, whose penalty on weights is on those of some layers alone."""
        from pruneir.training.fit import NothingToLearn, fit  # noqa: PLC0415 - torch is an extra

        context = self.context
        assert context.data is not None
        drawn = (context.seed, len(self.done), int(10 * share), self.earlier)
        seed = int(np.random.SeedSequence(drawn).generate_state(1)[0])
        few, place = self.what.trained_on, context.checkpoints
        if place is not None:
            place /= f"phase{self._label}-{stage.replace(' ', '-')}"
        try:
            fitted = fit(
                self.graph,
                training,
                context.data if few is None else context.data.some(few, seed),
                context.validation,
                context.original,
                seed=seed,
                plan=self.several.whole,
                anchors=context.anchors,
                progress=lambda text, done: self._tell(f"{stage}, {text}", share + 0.4 * done),
                checkpoints=place,
                resume=place is not None,
                penalties=partial(self._penalties, {weight.name for weight in layers}),
            )
        except NothingToLearn as error:
            self.notes.append(f"{self._label}, {stage}: {error}")
            return self.graph
        if fitted.failed:
            raise PruneirError(f"pass ssd: {stage} of {self._label} stopped: {fitted.stopped}")
        self.notes += [f"{self._label}, {stage}: {note}" for note in fitted.notes]
        self.several.trained(fitted.changed)
        return fitted.graph

    def _penalties(
        self, names: Collection[str], network: Network, trained: list[str], training: Training, masks: Masks | None
    ) -> Penalties:
        """Those of a training, but that on weights only for those of some names."""
        from pruneir.training.penalties import Penalties  # noqa: PLC0415 - torch is an extra

        found = Penalties(network, trained, training, masks)
        within = {id(network.weights[name]) for name in trained if name in names}
        found.pulled = [weight for weight in found.pulled if id(weight) in within]
        if training.l1_weights and not found.pulled:
            self.notes.append(f"{self._label}: freeze, only or l1_at leave no weight of its layers to pull to zero")
        return found

    def _score(self, stage: str, share: float, graph: Graph) -> Score:
        self._tell(stage, share)
        return score(graph, self.judged, self.context.original, anchors=self.context.anchors)

    def _tell(self, text: str, share: float) -> None:
        self.context.progress(f"{self._label}, {text}", (len(self.done) + share) / max(len(self.names), 1))

    @property
    def _label(self) -> str:
        return f"-{len(self.done) + 1}det"
