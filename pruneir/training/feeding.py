"""Batches on their way into a network: arrays become tensors where it computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pruneir.data import Batch, Data
from pruneir.errors import PruneirError
from pruneir.training.losses import Values
from pruneir.training.program import tensor_of


@dataclass(frozen=True, slots=True)
class Fed:
    """A batch as tensors.

    feeds   by graph input
    labels  one per sample that counts, if there are any, or boxes `[M, 6]`
    count   samples that count
    rows    samples that there are: those behind only fill up a batch of fixed size
    own     the labels, one per sample that counts: boxes are `[count, most, 5]`
    """

    feeds: dict[str, Tensor]
    labels: Tensor | None
    count: int
    rows: int
    own: np.ndarray | None = None

    def counting(self, values: Values) -> dict[str, Tensor]:
        """Values of the samples that count."""
        if self.count == self.rows:
            return dict(values)
        return {
            name: value[: self.count] if value.ndim and len(value) == self.rows else value
            for name, value in values.items()
        }


@dataclass(frozen=True, slots=True)
class Feeder:
    """Samples for training and for judging.

    size    samples in a batch, unless the graph prescribes them
    device  that they go to
    """

    size: int
    device: torch.device

    def steps(self, data: Data) -> int:
        """Batches in an epoch: whole ones, as long as there is one."""
        return max(len(data) // (data.batch or self.size), 1)

    def shuffled(self, data: Data, seed: np.random.SeedSequence) -> Iterator[Fed]:
        """An epoch in an order that follows from the seed. What fills no batch is left out, other samples each time."""
        random = np.random.default_rng(seed)
        for batch in islice(data.batches(self.size, shuffle=random), self.steps(data)):
            yield self.fed(batch)

    def ordered(self, data: Data, limit: int | None = None) -> Iterator[Fed]:
        """All samples, or the first, in order."""
        for batch in data.batches(self.size, limit):
            yield self.fed(batch)

    def fed(self, batch: Batch) -> Fed:
        """A batch as tensors."""
        feeds = {name: tensor_of(array).to(self.device) for name, array in batch.feeds.items()}
        rows = max((len(tensor) for tensor in feeds.values() if tensor.ndim), default=batch.count)
        labels, own = None, batch.own_labels
        if batch.labels is not None:
            if batch.labels.dtype.kind not in "biuf":
                raise PruneirError(f"{batch.source}: labels are {batch.labels.dtype}, not numbers; no loss takes these")
            if not np.isfinite(batch.labels).all():
                raise PruneirError(f"{batch.source}: labels hold NaN or infinity; mend them")
            labels = tensor_of(batch.labels if batch.boxes or own is None else own).to(self.device)
        return Fed(feeds, labels, batch.count, rows, own)
