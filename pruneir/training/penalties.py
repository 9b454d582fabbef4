"""What pulls weights towards zero, and what holds them there.

An L1 penalty λ·Σ|w| is taken by a proximal step after each step of the optimizer, w ← sign(w)·max(|w| − ηλ, 0), with η
what the optimizer makes of a gradient of 1: exact zeros, which a gradient of the penalty never makes. With sgd
η = lr / (1 − momentum), so that λ means what it does in Network Slimming (Liu et al., ICCV 2017), where λ·sign(γ) is
part of the gradient and gathers momentum; with adamw η = lr.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pruneir.errors import PruneirError
from pruneir.names import is_called, require_matches
from pruneir.training.chosen import names_of
from pruneir.training.history import Sparsity
from pruneir.training.network import Network
from pruneir.training.options import Training

Masks = Mapping[str, np.ndarray]
"""By tensor name: what may differ from zero, of the tensor's shape, or one that broadcasts to it."""

_SMALL = 1e-2
"""|γ| below which a channel hardly counts."""


class Penalties:
    """The penalties and masks of a training, on the tensors that it trains."""

    teaches: ClassVar[bool] = False
    """Whether a network that equals its teacher has something to learn by them, whatever the options."""

    def __init__(self, network: Network, trained: list[str], training: Training, masks: Masks | None = None):
        weights = network.weights
        self.training = training
        self.kernels = [weights[name] for name in trained if is_kernel(weights[name])]
        self.pulled = [weights[name] for name in _at(network, trained, training.l1_at) if is_kernel(weights[name])]
        self.scales = [weights[name] for name in trained if name in network.scales]
        self.masks = _given(weights, masks or {})
        if training.keep_zeros:
            self.masks |= {name: mask for name, mask in _zeros(weights, trained).items() if name not in self.masks}
        self._masked = [(weights[name], mask) for name, mask in self.masks.items() if name in trained]

    def gradients(self) -> None:
        """Add the gradient of λ/2·Σw² to that of the loss."""
        if self.training.l2_weights:
            for weight in self.kernels:
                if weight.grad is not None:
                    weight.grad.add_(weight.detach(), alpha=self.training.l2_weights)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def shrink(self, rate: float) -> None:
        """The proximal steps at a learning rate, then the masks."""
        training = self.training
        step = rate / (1 - training.momentum) if training.optimizer == "sgd" else rate
        for weights, penalty in ((self.scales, training.l1_gamma), (self.pulled, training.l1_weights)):
            if penalty:
                for weight in weights:
                    weight.copy_(functional.softshrink(weight, step * penalty))
        self.mask()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def mask(self) -> None:
        """Set to zero what the masks say."""
        for weight, mask in self._masked:
            weight.mul_(mask).add_(0.0)  # −0, which files would store as another number, becomes 0

    def __str__(self) -> str:
        """The masks in a line; empty without any."""
        held = sum(int(mask.numel() - mask.count_nonzero()) for mask in self.masks.values())
        if not held:
            return ""
        return f"{held:,} weights that are zero stay so, in {len(self.masks)} tensors"


def is_kernel(weight: Tensor) -> bool:
    """Whether a parameter is a matrix or a kernel: not a bias, a scale or a shift, which have a single long axis."""
    return sum(size > 1 for size in weight.shape) > 1


def sparsity_of(network: Network) -> Sparsity:
    """How sparse a network is."""
    zero, small = _shares(list(network.scales.values())) or (None, None)
    weights = _shares([weight for weight in network.weights.values() if is_kernel(weight)])
    return Sparsity(zero, small, weights[0] if weights is not None else None)


def _at(network: Network, trained: list[str], globs: tuple[str, ...]) -> list[str]:
    """The trained tensors that globs of tensors and nodes match; all without globs."""
    if not globs:
        return trained
    called = {name: names_of(network.graph, name) for name in trained}
    require_matches("l1_at", globs, {each for names in called.values() for each in names})
    return [name for name, names in called.items() if is_called(names, globs)]


def _shares(weights: list[Tensor]) -> tuple[float, float] | None:
    """The shares of entries that are exactly zero, and small; None where there is no entry."""
    count = sum(weight.numel() for weight in weights)
    if not count:
        return None
    zero = sum(int((weight == 0).sum()) for weight in weights)
    below = sum(int((weight.abs() < _SMALL).sum()) for weight in weights)
    return zero / count, below / count


def _given(weights: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    found = {}
    for name, mask in masks.items():
        if name not in weights:
            raise PruneirError(f"mask '{name}': the network trains no tensor of that name")
        weight = weights[name]
        try:
            wide = np.broadcast_to(np.asarray(mask, bool), weight.shape)
        except ValueError:
            raise PruneirError(
                f"mask '{name}' is {list(np.shape(mask))}, which does not fit the tensor's {list(weight.shape)}"
            ) from None
        found[name] = torch.tensor(wide, dtype=weight.dtype, device=weight.device)
    return found


def _zeros(weights: Mapping[str, Tensor], trained: list[str]) -> dict[str, Tensor]:
    """Masks of the kernels that have zeros, but for those that are nothing else."""
    found = {}
    for name in trained:
        weight = weights[name].detach()
        if is_kernel(weight) and 0 < int((weight == 0).sum()) < weight.numel():
            found[name] = (weight != 0).to(weight.dtype)
    return found
