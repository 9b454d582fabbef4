"""`unfold-bn`: a BatchNormalization behind every linear operator that has none."""

from __future__ import annotations

from dataclasses import dataclass

from pruneir.calibrate import channel_statistics
from pruneir.errors import PruneirError, Refusal
from pruneir.folding.unfold import insert, is_gate, places
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Pass, Result
from pruneir.shapes import infer


@dataclass(frozen=True)
class UnfoldBatchNorm(Pass):
    """Put a BatchNormalization behind every linear operator that has none, as an exact identity. Needs data.

    Exporters like to fold BatchNorm into the convolution before it, and with it goes the γ that `slim` reads. Over the
    data each channel of the operator's output, its bias added, has a mean μ and a variance σ². Then

        y = γ · (y − μ) / √(σ² + ε) + β   with   γ = √(σ² + ε),  β = μ

    changes nothing, and γ is alive: in a network that was trained with BatchNorm, about the |γ| that was folded.
    A channel that is constant over the data gets γ = √ε, 1e-5 of the root mean square of the channels' deviations.

    samples     how many samples of the data to measure on, at most
    everywhere  also where channels cannot be cut, as in front of the network's outputs

    Left alone: what has a BatchNorm behind it already; operators whose channels cannot be cut; gates, as in
    squeeze-and-excitation, whose spread is not that of the channels that they multiply. Refused, each with the reason:
    weights computed at run time (PIR023), a MatMul of more than two axes, whose channels are on the last one (PIR025),
    outputs that are no finite numbers (PIR026).

    Nodes are called NODE.bn, their parameters NODE.bn.scale, .bias, .mean and .var; every value that was there keeps
    its name. `fold-bn` undoes it after pruning. Example: `--pass unfold-bn --pass 'slim{ratio=0.3}' --pass fold-bn`.
    """

    name = "unfold-bn"
    lossy = False
    samples: int = 1024
    everywhere: bool = False

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise PruneirError(f"pass {self.name}: samples={self.samples} is none; give at least 1")

    def run(self, graph: Graph, context: Context) -> Result:
        """The graph with more BatchNormalizations, and a refusal for each operator that none fits behind."""
        if context.data is None:
            raise PruneirError(f"pass {self.name} measures the mean and variance of channels: give samples with --data")
        found, refusals = places(graph, infer(graph))
        chosen = found
        if not self.everywhere:
            producers = {each for group in context.couplings.of(graph).groups for each in group.producers}
            chosen = [p for p in found if p.operator in producers and not is_gate(graph, p.value)]
        seen = channel_statistics(
            graph, [place.value for place in chosen], context.data, limit=self.samples, progress=context.progress
        )
        unfolded, added = graph.copy(), list[str]()
        for place in chosen:
            made = insert(unfolded, place, seen[place.value].mean, seen[place.value].variance)
            if isinstance(made, Refusal):
                refusals.append(made)
            else:
                added += made
        note = f"{len(added) // 4} BatchNormalizations put in"
        if len(found) > len(chosen):
            note += f", none behind {len(found) - len(chosen)} operators whose channels stay or are gates"
        return Result(unfolded, refusals=tuple(refusals), notes=(note,), changed=frozenset(added))
