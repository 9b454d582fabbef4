"""Filter pruning by the size of weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

from pruneir.coupling import Coupling, Group
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Result
from pruneir.pipeline.structured import Structured
from pruneir.selection import Criterion, Scores, weight_scores
from pruneir.selection.over_data import OVER_DATA, DataScores, OverData
from pruneir.selection.scores import Aggregate, Normalize


@dataclass(frozen=True)
class Filter(Structured):
    """Filter pruning: cut the channels whose filters are smallest, or most alike, or that matter least over data.

    criterion      of the filters that make a channel: l1: Σ|w| (Li et al., ICLR 2017); l2: √Σw²; gm: nearest to the
                   geometric median, that is, best replaced by the others (He et al., CVPR 2019); random: a control.
                   Of the weights that read it, over data: wanda: Σ|w|·‖x‖ (Sun et al., ICLR 2024), x the deviation
                   from the channel's mean where `absorb` keeps the mean; optimal-brain: the error that is left when
                   the other weights make up for it (Frantar and Alistarh, NeurIPS 2022; Kurtic et al., NeurIPS 2023).
                   By gradients over data: taylor: (γ·∂L/∂γ)², or (Σ w·∂L/∂w)² without BatchNorm (Molchanov et al.,
                   CVPR 2019), L the cross-entropy with the labels, or all outputs alike without; needs `train`
    ratio          share of the selected channels to cut, 0–1
    macs           instead of ratio: share of the multiply-accumulates that may be left at most
    scope          local: the same share of every group; global: one threshold for the network
    max_per_group  largest share cut from one group
    pairs          of blocks × positions (groups of a convolution, heads of attention) cut positions or whole blocks;
                   blocks in any case where they are more, and some operator makes them as channels of their own
    absorb         fold the constant that a cut channel leaves into its consumers
    cut_norms      also cut channels that a normalisation takes statistics over; these are then over what stays
    aggregate      how several weights or readers of one group are combined: mean, max, min, sum or first; auto: sum
                   for optimal-brain, else mean
    normalize      what makes groups of different width compare: each weight's scores are divided by their mean, max
                   or l2 (root mean square), or left as they are (none); auto: none for optimal-brain and taylor, whose
                   scores are parts of the outputs' variance and changes of the loss, else mean
    samples        how many samples of the data the criteria look at, at most
    seed           of what is random: the criterion `random`, the places that optimal-brain looks at

    Where a criterion over data cannot judge a group, since no linear operator with constant weights reads it, l2 does,
    and the group's row says so. Example: `--pass 'filter{criterion=l1,scope=local,ratio=0.3}'`.
    """

    name = "filter"
    scope: Literal["global", "local"] = "local"
    criterion: Literal["l1", "l2", "gm", "random", "wanda", "optimal-brain", "taylor"] = "l2"
    aggregate: Literal["auto", "mean", "max", "min", "sum", "first"] = "auto"
    normalize: Literal["auto", "mean", "max", "l2", "none"] = "auto"
    samples: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise PruneirError(f"pass {self.name}: samples={self.samples} is none; give at least 1")
        if self.seed < 0:
            raise PruneirError(f"pass {self.name}: seed={self.seed} is less than 0")

    def run(self, graph: Graph, context: Context) -> Result:
        """Remove the channels with the lowest scores; say of whom the criterion could not tell."""
        result = super().run(graph, context)
        over_data = self._over_data()
        if over_data is None:
            return result
        coupling = context.couplings.of(graph, cut_norms=self.cut_norms)
        unjudged = {group.name for group in coupling.groups if not over_data.judges(coupling, group)}
        note = f"scored by l2: {self.criterion} finds no linear operator with constant weights that reads it"
        rows = [
            replace(row, note="; ".join(filter(None, (row.note, note)))) if row.name in unjudged else row
            for row in result.rows
        ]
        return replace(result, rows=tuple(rows))

    def scores(self, coupling: Coupling, groups: list[Group], context: Context) -> Scores:
        """What the criterion says of each channel."""
        over_data = self._over_data()
        if over_data is None:
            return self._of_weights(coupling, groups, cast(Criterion, self.criterion))
        if context.data is None:
            raise PruneirError(f"criterion {self.criterion} judges channels over data: give samples with --data")
        judged = over_data.of(coupling, groups, context.data, context.progress)
        rest = self._of_weights(coupling, [group for group in groups if group not in judged], "l2")
        return {group: judged[group] if group in judged else rest[group] for group in groups}

    def _over_data(self) -> DataScores | None:
        if self.criterion not in OVER_DATA:
            return None
        return DataScores(cast(OverData, self.criterion), self.samples, self.absorb, *self._combining(), seed=self.seed)

    def _of_weights(self, coupling: Coupling, groups: list[Group], criterion: Criterion) -> Scores:
        aggregate, normalize = self._combining()
        return weight_scores(coupling, groups, criterion, aggregate=aggregate, normalize=normalize, seed=self.seed)

    def _combining(self) -> tuple[Aggregate, Normalize]:
        """How tensors and operators are combined, once `auto` is decided."""
        adds, compares = self.criterion == "optimal-brain", self.criterion in ("optimal-brain", "taylor")
        aggregate: Aggregate = ("sum" if adds else "mean") if self.aggregate == "auto" else self.aggregate
        normalize: Normalize = ("none" if compares else "mean") if self.normalize == "auto" else self.normalize
        return aggregate, normalize
