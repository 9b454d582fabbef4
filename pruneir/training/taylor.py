"""First-order Taylor scores: how much the loss would change, by its gradient, if a channel were gone.

Molchanov et al., "Importance Estimation for Neural Network Pruning" (CVPR 2019), section 3.1: with a gate z = 1 on the
channel, setting it to 0 changes the loss by about −∂L/∂z, and the importance is the mean over batches of

    (∂L/∂z)² = (Σ θ · ∂L/∂θ)²

over the parameters θ that the gate scales: the γ of every BatchNorm that the channel runs through, or without one the
filters that make it. Shifts and biases are left out, since a channel that is cut leaves its constant behind.

Without labels L is Σ v·y with random signs v for every element of the outputs, in units of the output's root mean
square. The mean of the square is then Σ (∂y/∂z)² over all of them: how much the outputs move, whatever they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pruneir.calibrate.streaming import samples_of
from pruneir.coupling import Coupling, Group, Member
from pruneir.data import Data
from pruneir.errors import PruneirError
from pruneir.progress import Progress, silent
from pruneir.selection.gates import gates
from pruneir.training.feeding import Feeder
from pruneir.training.heads import Head, head_of
from pruneir.training.losses import cross_entropy
from pruneir.training.network import Network

_BATCH = 1
_FLOOR = 1e-12


def taylor(
    coupling: Coupling,
    groups: Sequence[Group],
    data: Data,
    *,
    limit: int | None = None,
    batch: int = _BATCH,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[Group, np.ndarray]:
    """Scores `[channels]` of the groups that have trained parameters, over the first `limit` samples.

    batch  samples whose gradient is squared at once
    PruneirError if an operator cannot be differentiated.
    """
    network = Network(coupling.graph).eval()
    scaled = {group: gates(coupling, group) for group in groups}
    names = {member.use.name for some in scaled.values() for member in some}
    parameters = {name: parameter for name, parameter in network.weights.items() if name in names}
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    heads = [head_of(coupling.graph, name) for name in coupling.graph.outputs]
    generator = torch.Generator().manual_seed(seed % 2**63)
    scores = {group: np.zeros(len(group)) for group in scaled}
    batches = done = 0
    samples = samples_of(data, limit)
    feeder = Feeder(batch, torch.device("cpu"))
    for fed in feeder.ordered(data, limit) if parameters else ():
        loss = _loss(heads, fed.counting(network(fed.feeds, _wanted(heads))), fed.labels, generator)
        slopes = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        moved = {
            name: (parameter.detach() * slope).numpy().astype(np.float64)
            for (name, parameter), slope in zip(parameters.items(), slopes, strict=True)
            if slope is not None
        }
        for group, members in scaled.items():
            change = np.zeros(len(group))
            for member in members:
                if member.use.name in moved:
                    change += _per_channel(moved[member.use.name], member, len(group))
            scores[group] += change**2
        batches += 1
        done += fed.count
        progress("gradients", done / max(samples, 1))
    if not all(np.isfinite(score).all() for score in scores.values()):
        raise PruneirError("criterion taylor: the gradients over the data are no finite numbers; use another criterion")
    return {group: score / max(batches, 1) for group, score in scores.items()}


def _per_channel(moved: np.ndarray, member: Member, channels: int) -> np.ndarray:
    sums = np.moveaxis(moved, member.axis, 0).reshape(moved.shape[member.axis], -1).sum(axis=1)
    inside = member.channel >= 0
    return np.bincount(member.channel[inside], weights=sums[inside], minlength=channels)


def _wanted(heads: Sequence[Head]) -> list[str]:
    return list(dict.fromkeys(head.value for head in heads))


def _loss(
    heads: Sequence[Head], values: Mapping[str, Tensor], labels: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Cross-entropy with the classes that the labels are, or random signs times the outputs."""
    if labels is not None and len(heads) == 1 and _are_classes(labels, heads[0].scores(values[heads[0].value])):
        return cross_entropy(heads[0])(values, labels, None)
    terms = []
    for value in values.values():
        if value.is_floating_point() and value.requires_grad:
            signs = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
            terms.append((signs * value).sum() / (value.detach().square().mean().sqrt() + _FLOOR))
    if not terms:
        raise PruneirError("criterion taylor: no output of the network has a gradient; use another criterion")
    return torch.stack(terms).sum()


def _are_classes(labels: Tensor, scores: Tensor) -> bool:
    """Whether there is one class for each sample, or each place, that has scores."""
    return not labels.is_floating_point() and scores.ndim > 1 and labels.numel() * scores.shape[1] == scores.numel()
