"""Scalpel: weights in groups or whole nodes, as the machine likes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, Literal

import numpy as np

from pruneir.conflicts import Idle
from pruneir.coupling import Coupling, Group, couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Pass, Result
from pruneir.pipeline.structured import removing
from pruneir.selection import Budget, candidates, weight_scores
from pruneir.selection.choose import Removed, least, why_not_more
from pruneir.selection.readers import readers
from pruneir.sparsity import Weight, masked, weights, zeroed
from pruneir.sparsity.groups import Layout, lowest, unfit
from pruneir.sparsity.nodes import WeightCounter, closed_nodes, spread
from pruneir.sparsity.sparse import left_alone
from pruneir.surgery import apply
from pruneir.training.extra import require_torch
from pruneir.training.options import Training
from pruneir.training.parameters import untied

_WIDTH = 8
"""Of a group, for a machine that names no width."""


@dataclass(frozen=True)
class Scalpel(Pass):
    """Prune for the parallelism of a machine (Yu et al., Scalpel, ISCA 2017): weights in SIMD groups, or whole nodes.

    A target of low parallelism (Cortex-M) gets all weights pruned in groups that one vector, or one step of an unrolled
    loop, reads together: a sparse kernel then has one index a group. High parallelism (cuda) gets smaller dense layers:
    nodes go, that is, neurons and filters with all that reads them. Moderate parallelism (x86) gets groups in fully
    connected layers, and nodes of convolutions removed.

    Groups: a layer's groups go by √(mean of w²); those below one threshold become zero, the shorter group at the end of
    a row too, and the best group of every layer stays. To prune with retraining, raise `sparsity` from pass to
    pass, or give it `of=left` in rounds, with a pass `train` behind each, which keeps zeros zero.

    Nodes: without `epochs`, those of the smallest weights; with `epochs`, which needs data and the extra `train`, mask
    layers find them while the network is trained (pruneir.training.gates). `train` behind it lets the rest recover.

    sparsity    share of the weights that are zero, or gone, afterwards: of the layers pruned in groups, and of those
                pruned by nodes, each; in nodes, as near as `max_per_group` and the target's multiple let it
    of          what that is a share of. all: the weights that there were at first; left: those that are left now
    level       auto: as the target is; low, moderate or high: as one of these
    width       weights in a group; none: the target's SIMD width, or 8
    importance  what makes groups of different layers compare. lamp: the group's share of the Σw² that its layer would
                have left (Lee et al., ICLR 2021); std: √(mean of w²) over the layer's deviation; rms: nothing
    max_per_group  largest share of the nodes cut from one group of channels
    absorb      fold the constant that a cut node leaves into its consumers; with `epochs` it leaves none
    epochs      of training with mask layers; 0: none
    lr          learning rate of weights and gates in it
    penalty     what the pull on gates grows by in an epoch, until as much is closed as `sparsity` asks for
    threshold   T, where a gate closes

    Example: `--target cortex-m4 --pass 'scalpel{sparsity=0.9}'`.
    """

    name = "scalpel"
    lossy = True
    idle: ClassVar[Idle] = {
        **dict.fromkeys(("lr", "penalty", "threshold"), ("epochs", ())),
        **dict.fromkeys(("width", "importance"), ("level", ("auto", "low", "moderate"))),
    }
    sparsity: float = 0.5
    of: Literal["all", "left"] = "all"
    level: Literal["auto", "low", "moderate", "high"] = "auto"
    width: int | None = None
    importance: Literal["lamp", "std", "rms"] = "lamp"
    max_per_group: float = 0.9
    absorb: bool = True
    epochs: int = 0
    lr: float = 0.02
    penalty: float = 0.01
    threshold: float = 0.8

    def __post_init__(self) -> None:
        for name in ("sparsity", "max_per_group"):
            if not 0 <= getattr(self, name) <= 1:
                raise PruneirError(f"pass scalpel: {name}={getattr(self, name):g} is not a share between 0 and 1")
        if (self.width is not None and self.width < 1) or self.epochs < 0:
            raise PruneirError("pass scalpel: width is at least 1, and epochs at least 0")
        for name in ("lr", "penalty", "threshold"):
            if not 0 < getattr(self, name) < float("inf"):
                raise PruneirError(f"pass scalpel: {name}={getattr(self, name):g} is not a positive number")
        super().__post_init__()

    def run(self, graph: Graph, context: Context) -> Result:
        """Groups, nodes, or one in some layers and the other in the rest."""
        level = context.target.parallelism if self.level == "auto" else self.level
        if level == "low":
            every = weights(graph)
            return zeroed(graph, every, *self._masks(every, context))
        found = self._nodes(graph, context, kernels=level == "moderate")
        if level == "high":
            result = removing(found.coupling, found.removed, found.why, absorb_held=found.absorb)
        else:
            result = self._with_groups(found, context)
        return replace(result, notes=(*found.notes, *result.notes), changed=result.changed | found.changed)

    # Groups

    def _masks(self, every: Sequence[Weight], context: Context) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """What stays of each weight that falls into groups, and why others are left alone."""
        target = context.target
        width = self.width or (target.simd_width if target.simd_width > 1 else _WIDTH)
        why = left_alone(every, context)
        for weight in every:
            if weight.name not in why and (reason := unfit(weight, width, target.weight_order)):
                why[weight.name] = reason
        layouts = [Layout(weight, width, target.weight_order) for weight in every if weight.name not in why]
        chosen = [layout.weight for layout in layouts]
        kept = lowest(layouts, self.importance, self._goal(chosen, sum(w.nonzero for w in chosen), context))
        return {layout.weight.name: layout.mask(each) for layout, each in zip(layouts, kept, strict=True)}, why

    def _goal(self, counted: Iterable[Weight], now: int, context: Context) -> float:
        """How many of some weights may be left, of which so many are there now."""
        before = now if self.of == "left" else sum(_size_at_first(weight, context) for weight in counted)
        return (1.0 - self.sparsity) * before

    def _with_groups(self, nodes: _Nodes, context: Context) -> Result:
        """Nodes removed, and of what they leave, weights that are no kernels zero in groups."""
        uncut, dead = nodes.coupling.graph, nodes.coupling.dead(nodes.removed.items())
        cut = apply(nodes.coupling, dead)
        every = [weight for weight in weights(cut.graph) if not weight.is_kernel]
        masks, why = self._masks(every, context)
        grouped = zeroed(cut.graph, every, masks, why)
        coupling = couple(masked(uncut, spread(masks, uncut, cut.cuts)))
        there = {group.name: group for group in coupling.groups}
        removed = {there[group.name]: channels for group, channels in nodes.removed.items()}
        result = removing(coupling, removed, nodes.why, absorb_held=nodes.absorb)
        return replace(
            result,
            layers=grouped.layers,
            notes=(*result.notes, *grouped.notes),
            changed=result.changed | grouped.changed,
        )

    # Nodes

    def _nodes(self, graph: Graph, context: Context, *, kernels: bool) -> _Nodes:
        """The nodes that go; if `kernels`, of convolutions alone."""
        coupling = couple(untied(graph)) if self.epochs else context.couplings.of(graph)
        groups, why = _candidates(coupling, context, kernels=kernels)
        found = _Nodes(coupling, {}, why, self.absorb)
        if self.epochs:
            return self._gated(found, groups, context, kernels=kernels)
        scores = weight_scores(coupling, groups)
        counter = self._counter(coupling, kernels=kernels)
        budget = self._budget(scores, context)
        goal = self._goal(counter.counted, counter.total, context)
        removed = least(scores, budget, lambda removed: counter.left(removed) <= goal)
        return replace(found, removed=removed, why={**why, **why_not_more(groups, removed, budget)})

    def _gated(self, nodes: _Nodes, groups: Sequence[Group], context: Context, *, kernels: bool) -> _Nodes:
        """The nodes whose gates close while the network is trained, and the network so trained."""
        require_torch()
        from pruneir.training.gates import Gating, gated  # noqa: PLC0415 - torch is an extra

        if context.data is None:
            raise PruneirError("pass scalpel: epochs of training need samples; give --data, or epochs=0")
        coupling = nodes.coupling
        read = {group: found for group in groups if (found := readers(coupling, group))}
        counter = self._counter(coupling, kernels=kernels)
        goal = self._goal(counter.counted, counter.total, context)
        gating = Gating(
            self.threshold,
            self.penalty,
            spared=1.0 - self.max_per_group,
            enough=lambda gates: counter.left(closed_nodes(gates, gates, self._budget(gates, context))) <= goal,
        )
        done = gated(
            coupling.graph,
            read,
            gating,
            Training(epochs=self.epochs, lr=self.lr, schedule="constant"),
            context.data,
            context.validation,
            context.original,
            seed=context.seed,
            plan=context.plan,
            progress=context.progress,
        )
        trained = couple(done.graph)
        there = {group.name: group for group in trained.groups}
        gates = {there[group.name]: found for group, found in done.open.items()}
        scores = {there[group.name]: found for group, found in done.scores.items()}
        budget = self._budget(scores, context)
        removed = closed_nodes(gates, scores, budget)
        notes = [f"{sum(map(len, removed.values())):,} of {sum(map(len, gates.values())):,} nodes go"]
        if not done.reached:
            counter = self._counter(trained, kernels=kernels)
            removed = least(scores, budget, lambda removed: counter.left(removed) <= goal)
            notes.append(
                f"{self.epochs} epochs closed too few gates for sparsity={self.sparsity:g}, so the lowest β go too: "
                "raise epochs or penalty"
            )
        unread = {group.name: "no operator with constant weights reads it" for group in groups}
        why = {**nodes.why, **unread, **why_not_more(scores, removed, budget)}
        return _Nodes(trained, removed, why, False, done.fitted.changed & set(done.graph.values), tuple(notes))

    def _counter(self, coupling: Coupling, *, kernels: bool) -> WeightCounter:
        return WeightCounter(coupling, [each for each in weights(coupling.graph) if each.is_kernel or not kernels])

    def _budget(self, scores: Mapping[Group, np.ndarray], context: Context) -> Budget:
        return Budget.of(context, scores, max_per_group=self.max_per_group)


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Nodes that go.

    coupling  of the network that they go from
    why       by group, why nothing or not more goes
    absorb    whether they leave constants behind
    changed   what training changed in that network
    """

    coupling: Coupling
    removed: Removed
    why: Mapping[str, str]
    absorb: bool
    changed: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def _candidates(coupling: Coupling, context: Context, *, kernels: bool) -> tuple[list[Group], dict[str, str]]:
    """The groups whose nodes may go; of convolutions alone, if `kernels`."""
    groups, why = candidates(coupling, context)
    if kernels:
        others = [
            g for g in groups if not all(op.is_a("Conv", "ConvTranspose") for op in g.producers) or not g.producers
        ]
        why |= {group.name: "no convolution makes it: weights go in groups" for group in others}
        groups = [group for group in groups if group not in others]
    return groups, why


def _size_at_first(weight: Weight, context: Context) -> int:
    """Entries of a weight before earlier passes cut it."""
    cut = context.plan.kept.get(weight.name, {})
    return prod(cut[axis][0] if axis in cut else size for axis, size in enumerate(weight.array.shape))
