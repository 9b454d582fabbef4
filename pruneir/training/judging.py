"""How good a network is between epochs: the score of `pruneir.score`, and the loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from pruneir.detection.detect import Detector
from pruneir.detection.heads import Heads
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.score import Tally, kind_of
from pruneir.training.feeding import Fed
from pruneir.training.history import Judged
from pruneir.training.losses import Loss, Values
from pruneir.training.network import Network

_QUICK = Detector(candidates=100)
"""How heads are read between epochs: what an untrained network detects would take long."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges by a loss and, where outputs and labels let it, by mAP, accuracy, agreement or fidelity.

    teacher  the network to agree with where there are no labels
    outputs  that count
    theirs   how the teacher calls a value, where that is not by the same name
    heads    which of the outputs tell boxes, if any do
    """

    loss: Loss
    teacher: Network | None
    outputs: tuple[str, ...]
    theirs: Mapping[str, str]
    heads: Heads | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The values to ask of a network."""
        return tuple(dict.fromkeys((*self.loss.names, *self.outputs)))

    def taught(self, batch: Fed, *, always: bool = False) -> Values | None:
        """The teacher's values for a batch; None where nothing asks for them."""
        if self.teacher is None or not (always or self.loss.teaches):
            return None
        names = {name: self.theirs.get(name, name) for name in self.names}
        with torch.no_grad():
            values = batch.counting(self.teacher(batch.feeds, tuple(names.values())))
        return {name: values[their] for name, their in names.items()}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def judge(self, network: Network, batches: Iterable[Fed]) -> Judged:
        """A network on samples, as it is at inference."""
        network.eval()
        tally, scored = Tally(self.heads, _QUICK), True
        total, samples = 0.0, 0
        for batch in batches:
            values = batch.counting(network(batch.feeds, self.names))
            taught = self.taught(batch, always=batch.labels is None)
            total += float(self.loss(values, batch.labels, taught)) * batch.count
            samples += batch.count
            scored = scored and self._add(tally, values, batch, taught)
        loss = total / max(samples, 1)
        if not scored or tally.kind is None:
            return Judged(-loss, "loss", samples, loss)
        found = tally.score
        return Judged(found.points, found.kind, samples, loss)

    def _add(self, tally: Tally, values: Values, batch: Fed, taught: Values | None) -> bool:
        """Count a batch; whether that could be done."""
        outputs = [values[name].cpu().numpy() for name in self.outputs]
        if batch.own is not None and kind_of(outputs, batch.own, self.heads) == "mAP":
            tally.add(outputs, batch.own)
            return True
        if batch.labels is not None:
            single = len(outputs) == 1 and outputs[0].ndim > 1
            classes = outputs[0].shape[1] if single else 1
            if batch.labels.is_floating_point() or batch.labels.ndim != 1 or outputs[0].size != batch.count * classes:
                return False
            if classes == 1:
                return False
            tally.add(outputs, batch.labels.cpu().numpy())
            return True
        if taught is None:
            return False
        theirs = [taught[name].cpu().numpy() for name in self.outputs]
        if any(our.shape != their.shape for our, their in zip(outputs, theirs, strict=True)):
            return False
        tally.add(outputs, None, theirs)
        return True


def float_outputs(graph: Graph, network: Network, batch: Fed) -> dict[str, tuple[int, ...]]:
    """The outputs that are floats on a batch, and their shapes there. PruneirError where one is not a number."""
    with torch.no_grad():
        values = network(batch.feeds)
    found = {name: values[name] for name in graph.outputs if values[name].is_floating_point()}
    for name, value in found.items():
        if bool(value.isnan().any()):
            raise PruneirError(f"'{name}' is NaN before any training; mend the network's weights, or give other data")
    return {name: tuple(value.shape) for name, value in found.items()}
