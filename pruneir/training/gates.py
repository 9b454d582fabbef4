"""Node pruning with mask layers (Yu et al., Scalpel, ISCA 2017, section 4.2): which nodes a network can do without.

What reads a node's activation x gets y = α·x instead, α being 1 or 0. Behind each α is a β that training moves:

    ∂β = Σ ∂y·x over batch and image (straight-through: as if α were β)
    β ← clamp(β − η·(∂β + p), 0, T + 2·10⁻³)
    α = 1 if β > T + ε,  0 if β < T,  else as before

η is the learning rate, p a penalty that grows linearly, by `penalty` an epoch. β begin at T + 2·10⁻⁴. An α that is
0 still gets its gradient, so that a node that is missed comes back. Once enough is closed, gates move no more and the
rest of the training is of what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from pruneir.coupling import Group
from pruneir.data import Data
from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.pipeline.plan import Plan
from pruneir.progress import Progress, silent
from pruneir.selection.readers import Reader
from pruneir.training.fit import fit
from pruneir.training.history import Fitted
from pruneir.training.network import Network
from pruneir.training.options import Training
from pruneir.training.penalties import Masks, Penalties

_MARGIN = 1e-4
"""ε, by which a β must exceed T to open its gate."""
_START, _MOST = 2e-4, 2e-3
"""Where β begins, and ends, above T."""
_PLACE = "gates"

Open = Mapping[Group, np.ndarray]
"""`[channels]`: whether a gate is open."""


@dataclass(frozen=True, slots=True)
class Gating:
    """How gates move.

    threshold  T
    penalty    what p grows by in an epoch
    spared     share of a group's nodes that stay open whatever happens; at least one does
    enough     whether what is closed suffices
    """

    threshold: float
    penalty: float
    spared: float
    enough: Callable[[Open], bool]


@dataclass(frozen=True, slots=True)
class Gated:
    """What came of training with gates.

    graph    the trained network, without them
    open     by group: which nodes are
    scores   by group, `[channels]`: β, and 1 more where the gate is open
    reached  whether enough were closed
    """

    graph: Graph
    open: Open
    scores: Mapping[Group, np.ndarray]
    reached: bool
    fitted: Fitted


def gated(
    graph: Graph,
    read: Mapping[Group, Sequence[Reader]],
    gating: Gating,
    training: Training,
    data: Data,
    validation: Data | None,
    teacher: Graph | None,
    *,
    seed: int = 0,
    plan: Plan | None = None,
    progress: Progress = silent,
) -> Gated:
    """Train a graph, whose nodes have gates where they are read; the graph is not changed.

    read  the operators that read each group's nodes
    PruneirError where a value is not finite.
    """
    wired, gates, undo = _with_gates(graph, read)
    moving: list[_Gates] = []

    def penalties(network: Network, trained: list[str], options: Training, masks: Masks | None) -> Penalties:
        steps = max(len(data) // (data.batch or options.batch), 1)
        moving.append(_Gates(network, trained, options, masks, gates=gates, gating=gating, steps=steps))
        return moving[0]

    options = replace(training, freeze=(*training.freeze, f"{_PLACE}/*"), choose="last")
    fitted = fit(
        wired, options, data, validation, teacher, seed=seed, plan=plan, progress=progress, penalties=penalties
    )
    if fitted.failed:
        raise PruneirError(f"training with gates stopped: {fitted.stopped}")
    (moved,) = moving
    result = fitted.graph.copy()
    result.header.ir_version = graph.header.ir_version
    for reader, slot, source in undo:
        now = result.producer(reader)
        assert now is not None
        result.replace(now, now.with_input(slot, source))
    for operator in reversed([each for each in result.operators if each.label.startswith(f"{_PLACE}/")]):
        result.remove(operator)
    for name in [name for name in result.initializers if name.startswith(f"{_PLACE}/")]:
        result.drop_initializer(name)
    return Gated(result, moved.open, moved.scores, moved.reached, fitted)


class _Gates(Penalties):
    """The penalties of a training, and the gates' own steps behind each of its."""

    teaches = True

    def __init__(
        self,
        network: Network,
        trained: list[str],
        training: Training,
        masks: Masks | None,
        *,
        gates: Mapping[Group, str],
        gating: Gating,
        steps: int,
    ):
        super().__init__(network, trained, training, masks)
        self.gating, self.growth, self.penalty, self.reached = gating, gating.penalty / steps, 0.0, False
        self.alphas: dict[Group, nn.Parameter] = {group: network.weights[name] for group, name in gates.items()}
        for alpha in self.alphas.values():
            alpha.requires_grad_(True)
        self.betas = {group: torch.full_like(a, gating.threshold + _START) for group, a in self.alphas.items()}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def shrink(self, rate: float) -> None:
        """What penalties do, then a step of the gates."""
        super().shrink(rate)
        moved = False
        self.penalty += self.growth
        for group, alpha in self.alphas.items():
            if alpha.grad is not None and not self.reached:
                moved |= self._step(self.betas[group], alpha, rate)
            alpha.grad = None
        if moved and not self.reached:
            self.reached = self.gating.enough(self.open)

    def _step(self, beta: Tensor, alpha: Tensor, rate: float) -> bool:
        """Move the gates of a group; whether one opened or closed."""
        edge = self.gating.threshold
        beta.sub_(rate * (alpha.grad + self.penalty)).clamp_(0.0, edge + _MOST)
        now = torch.where(beta > edge + _MARGIN, 1.0, torch.where(beta < edge, 0.0, alpha))
        spared = max(ceil(len(beta) * self.gating.spared - 1e-9), 1)
        now[torch.topk(beta + alpha, spared).indices] = 1.0
        moved = not torch.equal(now, alpha)
        alpha.copy_(now)
        return moved

    @property
    def open(self) -> dict[Group, np.ndarray]:
        """Which gates are open."""
        return {group: alpha.detach().cpu().numpy() > 0 for group, alpha in self.alphas.items()}

    @property
    def scores(self) -> dict[Group, np.ndarray]:
        """β, and 1 more where the gate is open."""
        return {group: (beta + self.alphas[group]).detach().cpu().numpy() for group, beta in self.betas.items()}


def _with_gates(
    graph: Graph, read: Mapping[Group, Sequence[Reader]]
) -> tuple[Graph, dict[Group, str], list[tuple[str, int, str]]]:
    """The graph whose readers get α·x; the α by group; and by reader's output what it read, by which slot, before."""
    result, gates = graph.copy(), {}
    undo: list[tuple[str, int, str]] = []
    one = f"{_PLACE}/one"
    dtype = next((reader.array.dtype for readers in read.values() for reader in readers), np.dtype(np.float32))
    result.define(one, np.ones(1, dtype))
    for number, (group, readers) in enumerate(read.items()):
        alpha = gates[group] = f"{_PLACE}/{number}"
        result.define(alpha, np.ones(len(group), dtype))
        wide = f"{alpha}/wide"
        for place, reader in enumerate(readers):
            base = f"{alpha}/{place}"
            now = result.producer(reader.operator.outputs[0])
            assert now is not None
            undo.insert(0, (reader.operator.outputs[0], 0, now.inputs[0]))
            if not place:
                result.add(Operator("Concat", (alpha, one), (wide,), {"axis": 0}, wide), near=now)
            index = reader.channel.reshape(-1)
            result.define(f"{base}/index", np.where(index < 0, len(group), index))
            result.define(f"{base}/shape", np.array([-1, *[1] * _behind(reader)], np.int64))
            for kind, inputs, output in (
                ("Gather", (wide, f"{base}/index"), f"{base}/line"),
                ("Reshape", (f"{base}/line", f"{base}/shape"), f"{base}/gate"),
                ("Mul", (now.inputs[0], f"{base}/gate"), f"{base}/out"),
            ):
                result.add(Operator(kind, inputs, (output,), {}, output), near=now)
            result.replace(now, now.with_input(0, f"{base}/out"))
    return result, gates, undo


def _behind(reader: Reader) -> int:
    """How many axes of what is read lie behind the channels'."""
    if reader.operator.is_a("Conv", "ConvTranspose"):
        return reader.array.ndim - 2
    return 1 if reader.input_axis == 0 else 0
