"""The learning rate over the steps, and the optimizer that takes it.

Steps are counted over the whole training: rising from lr/w to lr over the w steps of the warm-up, then, with s the
share of the remaining steps that is done, lr (constant), lr·gamma^(milestones ≤ s) (step), or lr·(1 + cos πs)/2
(cosine: Loshchilov and Hutter, ICLR 2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from pruneir.training.options import Training
from pruneir.training.penalties import is_kernel


def rate(training: Training, step: int, steps: int) -> float:
    """The learning rate of a step.

    step   counted from 0, over all epochs
    steps  in an epoch
    """
    warm = round(training.warmup * steps)
    if step < warm:
        return training.rate * (step + 1) / warm
    left = max(training.epochs * steps - warm, 1)
    done = min((step - warm) / left, 1.0)
    if training.schedule == "cosine":
        return training.rate * 0.5 * (1 + math.cos(math.pi * done))
    if training.schedule == "step":
        return float(training.rate * training.gamma ** sum(done >= share for share in training.milestones))
    return training.rate


def optimizer(weights: Iterable[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    """The optimizer of some parameters, of which matrices and kernels decay."""
    decaying: list[nn.Parameter] = []
    staying: list[nn.Parameter] = []
    for weight in weights:
        (decaying if training.decay_all or is_kernel(weight) else staying).append(weight)
    groups = [
        {"params": decaying, "weight_decay": training.weight_decay},
        {"params": staying, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.rate)
    return torch.optim.SGD(groups, lr=training.rate, momentum=training.momentum, nesterov=training.momentum > 0)
