"""One epoch: steps over shuffled samples, and what goes wrong in them.

Running statistics that a cut left behind would be seen for long: after n steps a share of momentumⁿ is still theirs. So
they begin anew, as the mean over the steps, later ones weighing more, until the operator's own momentum forgets faster:
the batch of step n, from 0, has the share max(1 − momentum, 2 / (n + 2)).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch

from pruneir.data import Data
from pruneir.progress import Progress
from pruneir.training.feeding import Fed, Feeder
from pruneir.training.judging import Judge
from pruneir.training.network import Network
from pruneir.training.options import Training
from pruneir.training.penalties import Penalties
from pruneir.training.rates import rate
from pruneir.training.state import is_finite, taken


class NotFinite(Exception):
    """A loss or a weight that is not finite: what, where, and what helps."""


@dataclass(frozen=True, slots=True)
class Stepper:
    """What takes the steps of a training.

    judge   has the loss, and the teacher's values
    seed    of the order of samples and of dropout, which follow from it and the epoch's number
    """

    network: Network
    training: Training
    data: Data
    feeder: Feeder
    judge: Judge
    penalties: Penalties
    optimizer: torch.optim.Optimizer
    seed: int
    progress: Progress

    def epoch(self, number: int) -> tuple[float, float]:
        """Train for an epoch: mean loss while the weights changed, and the learning rate of the last step.

        NotFinite where a value is not.
        """
        total, samples, now, steps = 0.0, 0, 0.0, self.feeder.steps(self.data)
        seeds = np.random.SeedSequence((self.seed, number))
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        for step, batch in enumerate(self.feeder.shuffled(self.data, seeds)):
            done = (number - 1) * steps + step
            now = rate(self.training, done, steps)
            self.network.renewal = 2 / (done + 2)
            loss = self.step(batch, now)
            if not isfinite(loss):
                raise self.failure(f"the loss is {loss} in epoch {number}, step {step + 1} of {steps}", now)
            total, samples = total + loss * batch.count, samples + batch.count
            self.progress(
                f"epoch {number} of {self.training.epochs}, loss {total / samples:.4g}, lr {now:.2g}",
                (done + 1) / (self.training.epochs * steps),
            )
        if not is_finite(taken(self.network)):
            raise self.failure(f"a weight is not finite after epoch {number}", now)
        return total / samples, now

    def failure(self, what: str, now: float) -> NotFinite:
        """What went wrong at a learning rate, and what helps."""
        clip = 1 if self.training.clip else 5
        return NotFinite(f"{what}, at lr {now:.2g}: lower lr, or clip the gradient (clip={clip})")

    def step(self, batch: Fed, now: float) -> float:
        """One step at a learning rate; the loss before it. Nothing changes if that is not finite."""
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = now
        taught, loss_of = self.judge.taught(batch), self.judge.loss
        before = {name: tensor.clone() for name, tensor in self.network.statistics.items()}
        loss = loss_of(batch.counting(self.network(batch.feeds, loss_of.names)), batch.labels, taught)
        value = float(loss.detach())
        if not isfinite(value):
            for name, tensor in self.network.statistics.items():
                tensor.copy_(before[name])
            return value
        self.optimizer.zero_grad()
        loss.backward()
        self.penalties.gradients()
        if self.training.clip:
            weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, self.training.clip)
        self.optimizer.step()
        self.penalties.shrink(now)
        return value
