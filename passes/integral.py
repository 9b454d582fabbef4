"""Integral pruning: few weights, and of every activation only the winners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pruneir.conflicts import Idle
from pruneir.data import Data
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Result
from pruneir.score import Score, score
from pruneir.sparsity.operands import OperandMacs, operand_macs
from pruneir.sparsity.rates import AUTO, Given, Shares, smallest_rates, with_static, with_winners
from pruneir.sparsity.sites import Site, sites
from pruneir.sparsity.sparse import Sparse
from pruneir.sparsity.thresholds import largest
from pruneir.sparsity.weights import Masks, Weight
from pruneir.sparsity.winners import OPSET, Winners

_COUNTED = 256
"""Samples on which multiply-accumulates are counted, at most."""
_BATCH = 8
_SHOWN = 16


@dataclass(frozen=True)
class Integral(Sparse):
    """Integral pruning (Yang et al., 2019; submitted to ICLR 2019): mask weights, then let layers read winners only.

    The winners of a value are its elements of largest magnitude, found for every sample at run time; what does not win
    is zero for the layers that read it, not for other readers. Kernels that skip zeros save the multiply-accumulates
    of which either operand is zero; the table says how many are left.

    weights    share of the weights that every layer keeps, the largest; `GLOB=0.1` for some layers
    winners    share of the elements that every layer reads, behind the first; `GLOB=0.3` for some; auto: layer by layer
               the smallest with which the network loses no more than its part of `drop`, on --val or --data
    threshold  exact: the k-th largest magnitude of the sample, by TopK; sampled: that of every tenth element, or more
               often where that were less than 256; static: a constant, the mean of the exact ones over --data
    sample     share of the elements that `sampled` looks at
    drop       points of the score that all rates found by `auto` may cost together, before any fine-tuning
    samples    how many samples `auto` and `static` look at, at most, drawn at random

    The result has standard operators alone (docs/integral.md shows the form) and runs anywhere from opset 10 on. It is
    trained as any other: gradients pass the winners. Passes that cut channels come first: a ranked value keeps its own.
    Retrain between masking weights and choosing winners, and once at the end. With both shares 1 nothing is done, but
    the multiply-accumulates are counted. Example: `--pass 'integral{weights=0.1,winners=0.3}'`.
    """

    name = "integral"
    idle: ClassVar[Idle] = {"sample": ("threshold", ("sampled",))}
    weights: Given = (1.0,)
    winners: Given = (AUTO,)
    threshold: Literal["exact", "sampled", "static"] = "exact"
    sample: float = 0.1
    drop: float = 2.0
    samples: int = 1024

    def __post_init__(self) -> None:
        self._kept, self._winning  # noqa: B018 - what is wrong with them is said at once
        if not 0 < self.sample < 1:
            raise PruneirError(f"pass integral: sample={self.sample:g} is not a share between 0 and 1")
        if not 0 <= self.drop < float("inf"):
            raise PruneirError(f"pass integral: drop={self.drop:g} is not a number of points from 0 up")
        if self.samples < 1:
            raise PruneirError(f"pass integral: samples={self.samples} is none; give at least 1")
        super().__post_init__()

    def masks(self, graph: Graph, chosen: Sequence[Weight], context: Context) -> Masks:
        """The largest weights of each layer."""
        self._kept.require_matches({name for weight in chosen for name in weight.names})
        shares = {weight: self._kept.of(weight.names) for weight in chosen}
        return {weight.name: largest(weight, 1 - share) for weight, share in shares.items() if share and share < 1}

    def run(self, graph: Graph, context: Context) -> Result:
        """Mask weights, then put masks on activations."""
        result = super().run(graph, context)
        notes = [note for note in result.notes if note != "no weight is set to zero"]
        wanted, why = self._wanted(result.graph, context)
        notes += why
        if wanted:
            rates = self._rates(result.graph, wanted, context)
            masked, made = self._masked(result.graph, rates, context)
            notes += [*_told(rates, made), *self._lost(result.graph, masked, context)]
            # Rounding may decide who wins, so that no network equals this one for certain.
            result = replace(result, graph=masked, reference=None if made else result.reference)
        counted, what = self._counted(result.graph, context)
        return replace(result, notes=(*notes, *_told_macs(counted, what)))

    @property
    def _kept(self) -> Shares:
        return Shares("pass integral: weights", self.weights)

    @property
    def _winning(self) -> Shares:
        return Shares("pass integral: winners", self.winners, auto=True)

    def _wanted(self, graph: Graph, context: Context) -> tuple[dict[Site, float | None], list[str]]:
        """The rates asked for, None where they are to be found; and why there are none."""
        if self.winners == (1.0,):
            return {}, []
        if graph.opset() < OPSET:
            return {}, [
                f"no winners: opset {graph.opset()} has no TopK of this form; convert the file to {OPSET} or later"
            ]
        found = sites(graph, context)
        if not found:
            return {}, ["no winners: no layer reads what another made, in float32 and of known rank"]
        self._winning.require_matches({name for site in found for name in site.names})
        rates = {site: self._winning.of(site.names) for site in found}
        return {site: rate for site, rate in rates.items() if rate is None or rate < 1}, []

    def _rates(self, graph: Graph, wanted: Mapping[Site, float | None], context: Context) -> dict[Site, float]:
        open_ = [site for site, rate in wanted.items() if rate is None]
        found: dict[Site, float] = {}
        if open_:
            data = _judged_on(context)
            if data is None:
                raise PruneirError("pass integral: winners=auto scans on samples; give --val or --data, or a share")
            data = data.some(self.samples, context.seed)
            found = smallest_rates(
                graph, open_, data, self.drop, self._sample, context.progress, anchors=context.anchors
            )
        rates = {site: found[site] if rate is None else rate for site, rate in wanted.items()}
        return {site: rate for site, rate in rates.items() if rate < 1}

    @property
    def _sample(self) -> float:
        return self.sample if self.threshold == "sampled" else 1.0

    def _masked(self, graph: Graph, rates: Mapping[Site, float], context: Context) -> tuple[Graph, dict[Site, Winners]]:
        if self.threshold != "static":
            return with_winners(graph, rates, self._sample)
        if context.data is None:
            raise PruneirError("pass integral: a static threshold is measured on samples; give --data")
        return with_static(graph, rates, context.data.some(self.samples, context.seed))

    def _lost(self, before: Graph, after: Graph, context: Context) -> Iterator[str]:
        """What all masks together cost."""
        data = _judged_on(context)
        if data is None:
            return
        some = data.some(self.samples, context.seed)
        scores: list[Score] = [score(graph, some, before, anchors=context.anchors) for graph in (before, after)]
        yield f"winners, before fine-tuning: {scores[0].kind} {scores[0].points:.2f} → {scores[1].points:.2f}"

    def _counted(self, graph: Graph, context: Context) -> tuple[OperandMacs, str]:
        from pruneir.verify import random_feeds  # noqa: PLC0415 - ONNX Runtime is slow to import

        data = _judged_on(context)
        if data is None:
            return operand_macs(graph, [random_feeds(graph, seed=context.seed)]), "random inputs"
        some = data.some(_COUNTED, context.seed)
        counted = operand_macs(graph, (batch.feeds for batch in some.batches(_BATCH)))
        return counted, f"{counted.samples} samples"


def _judged_on(context: Context) -> Data | None:
    return context.validation if context.validation is not None else context.data


def _told(rates: Mapping[Site, float], made: Mapping[Site, Winners]) -> Iterator[str]:
    """A line a value."""
    lines = []
    for site, rate in rates.items():
        mask, size = made[site], site.size
        how = f"{mask.kept:,} of {size:,}" if mask.step == 1 and size else f"{rate:.0%}"
        lines.append(f"{site.layer} reads the winners of '{site.value}': {how}")
    yield from _first(lines, "values")


def _told_macs(counted: OperandMacs, what: str) -> Iterator[str]:
    if not counted.layers:
        return
    lines = [
        f"{layer.layer}: {100 * layer.both / max(layer.dense, 1):.2f} % of {layer.dense:,.0f} MACs, "
        f"weights alone {100 * layer.weights / max(layer.dense, 1):.2f} %, inputs {100 * layer.inputs:.1f} % not zero"
        for layer in counted.layers
    ]
    yield from _first(lines, "layers")
    yield (
        f"MACs of which neither operand is zero: {100 * counted.both:.2f} % of {counted.dense:,.0f}, "
        f"weights alone {100 * counted.weights:.2f} % ({what})"
    )


def _first(lines: Sequence[str], what: str) -> Iterable[str]:
    rest = len(lines) - _SHOWN
    return (*lines[:_SHOWN], f"… and {rest} more {what}") if rest > 0 else lines
