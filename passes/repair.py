"""`repair`: what a cut took from a network, given back without training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean
from typing import ClassVar, Literal

from pruneir.conflicts import Idle
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Pass, Result, Uncut
from pruneir.repair import Merged, Options, Repaired, merge, repair_from_data


@dataclass(frozen=True)
class Repair(Pass):
    """Repair without training: let every layer behind a cut compute what it did before, as far as it can.

    With data, a few hundred unlabelled samples, the uncut network runs once and the pruned one once, operator by
    operator in order, so that each is fitted to inputs that are repaired already:

    means        the mean of each output channel becomes that of the uncut network, in the running mean of a
                 BatchNormalization behind, the bias, or a constant added behind (measured-mean absorption)
    reconstruct  the weight of Conv, ConvTranspose, Gemm and MatMul.  least-squares: a ridge regression of the uncut
                 operator's output on the inputs as they now are (He et al., ICCV 2017), as a correction of the weight;
                 optimal-brain: on the uncut inputs that are left, δ = −H⁻¹_{:,S}([H⁻¹]_SS)⁻¹·w_S (Frantar and Alistarh,
                 NeurIPS 2022);  none: weights stay
    batchnorm    running mean and variance, so that the output's mean and variance on the data are what they were
    damping      of the regression: λ = damping × mean diagonal of X·Xᵀ; none: chosen by operator on samples held out
    samples      how many samples are used, drawn at random
    positions    output positions a sample that a regression sees at most, drawn at random

    Every eighth sample is held out of the fits and judges them: what does not lower the error there is not done.

    Without data:

    merge        removed channels are predicted from kept ones, with means and covariances estimated from the weights,
                 and the consumers' columns merged accordingly (after Kim et al., Neuron Merging, NeurIPS 2020)

    Runs after a pass that cuts, before `fold-bn`. Example: `--pass filter{ratio=0.5} --pass repair --data calib.npz`.
    """

    name = "repair"
    lossy = True
    idle: ClassVar[Idle] = dict.fromkeys(("damping", "positions"), ("reconstruct", ("least-squares", "optimal-brain")))
    means: bool = True
    reconstruct: Literal["least-squares", "optimal-brain", "none"] = "least-squares"
    batchnorm: bool = True
    damping: float | None = None
    samples: int = 512
    positions: int = 64
    merge: bool = True

    def __post_init__(self) -> None:
        for name in ("samples", "positions"):
            if getattr(self, name) < 1:
                raise PruneirError(f"pass repair: {name}={getattr(self, name)} leaves nothing to fit; give at least 1")
        if self.damping is not None and not 0 < self.damping < float("inf"):
            raise PruneirError(f"pass repair: damping={self.damping:g} is not a positive number")
        super().__post_init__()

    def run(self, graph: Graph, context: Context) -> Result:
        """The repaired graph; shapes and costs stay."""
        if context.uncut is None:
            return Result(graph, notes=("nothing was cut: nothing to repair",))
        if context.data is not None:
            return self._from_data(graph.copy(), context.uncut, context)
        if not self.merge:
            return Result(graph, notes=("no data: nothing repaired",))
        merged = graph.copy()
        done, found = merge(merged, context.uncut)
        return Result(merged, notes=(*_told_merged(done), *found.notes()), changed=_there(merged, done.changed))

    def _from_data(self, graph: Graph, uncut: Uncut, context: Context) -> Result:
        assert context.data is not None
        options = Options(self.means, self.reconstruct, self.batchnorm, self.damping, self.positions)
        data = context.data.some(self.samples, context.seed)
        done, found = repair_from_data(graph, uncut, data, options, context.seed, context.progress)
        notes = (*self._told(done, len(data)), *found.notes())
        return Result(graph, notes=notes, changed=_there(graph, done.changed))

    def _told(self, done: Repaired, samples: int) -> Iterator[str]:
        if not done.before and not done.norms:
            yield "no operator behind a cut can be repaired"
        if done.before:
            error = f"output error {mean(done.before):.3g} → {mean(done.after):.3g} on held-out samples"
            what = f"{self.reconstruct.replace('-', ' ')}: {_layers(len(done.refitted))} refitted"
            if self.reconstruct == "none":
                what = f"means: {_layers(done.shifted)} shifted"
            yield f"{what} from {samples} samples, {error}"
        if done.norms:
            yield f"statistics of {done.norms} BatchNormalization{'s' * (done.norms != 1)} re-estimated"
        if done.kept:
            shown = ", ".join(f"'{name}'" for name in done.kept[:3]) + (", …" if len(done.kept) > 3 else "")
            yield f"{_layers(len(done.kept))} kept as before, a refit does not help on held-out samples: {shown}"


def _told_merged(done: Merged) -> Iterator[str]:
    if done.operators:
        share = f"{mean(done.explained):.0%} of the removed channels' variance is predicted by the kept ones"
        yield f"no data: merged removed channels into kept ones in {_layers(len(done.operators))}; {share}"
    else:
        yield "no data: nothing that can be merged"


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"


def _there(graph: Graph, names: set[str]) -> frozenset[str]:
    return frozenset(names & graph.initializers.keys())
