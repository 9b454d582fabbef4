"""Channels that nobody hears, or that always say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Pass, Result
from pruneir.pipeline.structured import removing
from pruneir.selection.candidates import candidates
from pruneir.sparsity.dead import dead_channels

_TOLD = 2
"""Groups of which a note tells why their constant channels stay."""


@dataclass(frozen=True)
class DeadNeurons(Pass):
    """Remove neurons and filters that zero weights have cut off (Han et al., NIPS 2015, section 3.5). Lossless.

    A channel goes whose outgoing weights are all zero. One whose incoming weights are all zero emits f(bias): that
    constant is added to the biases of its consumers, and the channel goes too. Both are repeated as long as a removed
    channel cuts others off.

    A constant channel that a convolution with zero padding weighs stays, since no bias tells the border from the rest;
    unless the constant is zero. Runs after `magnitude`, and again after `train`; `--keep` and `--only` hold.

        x[N,8] -> y { h = Gemm(x, w[8,16], b[16]); r = Relu(h); y = Gemm(r, v[16,4], c[4]) }

    Example: `--pass 'magnitude{sparsity=0.95}' --pass dead-neurons`.
    """

    name = "dead-neurons"
    lossy = False

    def run(self, graph: Graph, context: Context) -> Result:
        """The graph without dead channels, a row for each group."""
        coupling = context.couplings.of(graph)
        groups, why = candidates(coupling, context)
        found = dead_channels(coupling, groups)
        count = sum(map(len, found.removed.values()))
        if not count:
            return Result(graph, notes=("no channel is dead", *_few(found.why)))
        made = removing(coupling, found.removed, {**why, **found.why}, moments=found.constants)
        note = (
            f"{count} dead channels removed: {found.unread} without outgoing weights, {count - found.unread} constant"
        )
        return replace(made, notes=(note,), reference=None)


def _few(why: Mapping[str, str]) -> Iterator[str]:
    """What keeps constant channels, of some groups."""
    yield from list(why.values())[:_TOLD]
    if len(why) > _TOLD:
        yield f"and so in {len(why) - _TOLD} more groups"
