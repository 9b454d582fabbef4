"""Network Slimming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pruneir.coupling import Coupling, Group
from pruneir.pipeline.passes import Context
from pruneir.pipeline.structured import Structured
from pruneir.selection import Scores, batchnorm_scale


@dataclass(frozen=True)
class Slim(Structured):
    """Network Slimming (Liu et al., ICCV 2017): cut the channels with the smallest BatchNorm scale, network-wide.

    Training with an L1 penalty on γ drives the scales of channels that the network can do without to zero; this pass
    sorts all |γ| of all prunable channels and cuts the lowest share. A group that runs through several BatchNorms (a
    residual stream, a depthwise pair) is scored by all of them together, and by the scales of other norms alike. A
    channel with γ = 0 is not zero but the constant f(β), which `absorb` moves into its consumers.

    ratio          share of the selected channels to cut, 0–1
    macs           instead of ratio: share of the multiply-accumulates that may be left at most
    scope          global: one threshold for the network; local: the same share of every group
    max_per_group  largest share cut from one group
    pairs          of blocks × positions (groups of a convolution, heads of attention) cut positions or whole blocks;
                   blocks in any case where they are more, and some operator makes them as channels of their own
    absorb         fold the constant that a cut channel leaves, E f(β + γz), into its consumers
    cut_norms      also cut channels that a normalisation takes statistics over; these are then over what stays
    aggregate      how several BatchNorms of one group are combined: mean, max, min, sum or first

    Works where BatchNorm is alive. Example: `--pass 'slim{ratio=0.5}'`.
    """

    name = "slim"
    aggregate: Literal["mean", "max", "min", "sum", "first"] = "mean"

    def scores(self, coupling: Coupling, groups: list[Group], context: Context) -> Scores:
        """Mean |γ| per channel."""
        return batchnorm_scale(coupling, groups, self.aggregate)

    def unscored(self) -> str:
        """Slimming judges by γ alone."""
        return "no BatchNorm scales it; the pass `filter` can cut it"
