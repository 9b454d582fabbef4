"""Filter pruning by the size of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pruneir.coupling import Coupling, Group
from pruneir.pipeline.passes import Context
from pruneir.pipeline.structured import Structured
from pruneir.selection import Scores, weight_scores


@dataclass(frozen=True)
class Filter(Structured):
    """Filter pruning: cut the channels whose filters are smallest, or most alike.

    criterion      l1: Σ|w| (Li et al., ICLR 2017); l2: √Σw²; gm: nearest to the geometric median, that is, best
                   replaced by the others (He et al., CVPR 2019); random: a control
    ratio          share of the selected channels to cut, 0–1
    macs           instead of ratio: share of the multiply-accumulates that may be left at most
    scope          local: the same share of every group; global: one threshold for the network
    max_per_group  largest share cut from one group
    pairs          of blocks × positions (groups of a convolution, heads of attention) cut positions or whole blocks
    absorb         fold the constant that a cut channel leaves into its consumers
    cut_norms      also cut channels that a normalisation takes statistics over; these are then over what stays
    aggregate      how several weights of one group are combined: mean, max, min, sum or first
    normalize      what makes groups of different width compare: each weight's scores are divided by their mean, max
                   or l2 (root mean square), or left as they are (none)
    seed           of the random criterion

    Example: `--pass 'filter{criterion=l1,scope=local,ratio=0.3}'`.
    """

    name = "filter"
    scope: Literal["global", "local"] = "local"
    criterion: Literal["l1", "l2", "gm", "random"] = "l2"
    aggregate: Literal["mean", "max", "min", "sum", "first"] = "mean"
    normalize: Literal["mean", "max", "l2", "none"] = "mean"
    seed: int = 0

    def scores(self, coupling: Coupling, groups: list[Group], context: Context) -> Scores:
        """The size of each channel's filters."""
        return weight_scores(
            coupling,
            groups,
            self.criterion,
            aggregate=self.aggregate,
            normalize=self.normalize,
            seed=self.seed,
        )
