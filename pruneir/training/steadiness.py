"""The learning rate that a network bears, where none is given.

A step that is right for a network with BatchNorms can ruin one without in a single batch. So some steps are tried on
one batch, at the usual rate, then at 1/√10 of it, and so on, until they do not raise the loss of that very batch.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
import torch

from pruneir.training.epochs import Stepper
from pruneir.training.state import is_finite, put, taken

_STEPS = 3
_FACTORS = tuple(10 ** (-index / 2) for index in range(7))
"""Down to a thousandth."""
_RISE, _NOISE = 1.1, 0.01
"""A loss that grows by no more than this factor, or this much, has not risen."""


def steady_rate(stepper: Stepper) -> float:
    """The largest of the rates at which some steps on one batch do not raise its loss; the smallest if all do.

    The network and the optimizer, which is new, are left as they were. What the batch is follows from the seed.
    """
    highest, given = stepper.training.rate, taken(stepper.network)
    batch = next(stepper.feeder.shuffled(stepper.data, np.random.SeedSequence((stepper.seed, 0))))
    now = highest
    for factor in _FACTORS:
        now = highest * factor
        stepper.progress(f"trying lr {now:.2g}", 0.0)
        torch.manual_seed(stepper.seed % 2**63)
        losses = [stepper.step(batch, now) for _ in range(_STEPS + 1)]
        sound = is_finite(taken(stepper.network))
        put(stepper.network, given)
        stepper.optimizer.state.clear()
        if not isfinite(losses[0]):
            return highest
        if sound and losses[-1] <= _RISE * losses[0] + _NOISE:
            break
    return now
