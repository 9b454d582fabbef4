"""What a training did, epoch by epoch, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from pruneir.graph import Graph


@dataclass(frozen=True, slots=True)
class Judged:
    """How good a network is on samples.

    points   of 100 for accuracy, agreement and fidelity (see `pruneir.score`); −loss where none of these fits
    kind     which of them it is, or `loss`
    samples  how many
    loss     the loss that is trained with, mean over them
    """

    points: float
    kind: str
    samples: int
    loss: float

    def beats(self, other: Judged) -> bool:
        """Whether it is better: more points, or as many with a smaller loss."""
        return (self.points, -self.loss) > (other.points, -other.loss)

    def is_ruin_of(self, other: Judged) -> bool:
        """Whether its loss is larger by more than half, with no more points."""
        return self.points <= other.points and self.loss > 1.5 * other.loss

    def since(self, before: Judged) -> str:
        """From what it was before to what it is, in words."""
        loss = f"loss {before.loss:.4g} → {self.loss:.4g}"
        return loss if self.kind == "loss" else f"{before} → {self.points:.2f}, {loss}"

    def __str__(self) -> str:
        return f"loss {self.loss:.4g}" if self.kind == "loss" else f"{self.kind} {self.points:.2f}"


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Shares of entries: γ of BatchNorms that are exactly zero, and below 1e-2; weights that are exactly zero."""

    zero_gammas: float | None
    small_gammas: float | None
    zero_weights: float | None

    def __str__(self) -> str:
        """In words; empty where nothing is sparse."""
        parts = []
        if self.zero_gammas is not None and self.small_gammas:
            parts.append(f"γ: {self.zero_gammas:.1%} are 0, {self.small_gammas:.1%} below 1e-2")
        if self.zero_weights:
            parts.append(f"{self.zero_weights:.1%} of the weights are 0")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the samples.

    number    from 1
    loss      mean over its samples, while the weights changed
    rate      learning rate of its last step
    judged    on the validation samples; None without any
    sparsity  after it
    seconds   that it took
    """

    number: int
    loss: float
    rate: float
    judged: Judged | None
    sparsity: Sparsity
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """What came of a training.

    graph    the network, names and order kept
    history  one entry per epoch that ended well
    changed  tensors whose values changed
    before, after   how good the network was, and is
    judged_on  the samples that this is by: `validation` or `training`
    chosen   the epoch whose weights these are; 0: those that were given
    stopped  why there are fewer epochs than asked for; empty if there are not
    failed   whether that was a value that is not finite
    device   that it ran on
    notes    what one should know, a line each
    """

    graph: Graph
    history: tuple[Epoch, ...]
    changed: frozenset[str]
    before: Judged
    after: Judged
    judged_on: str
    chosen: int
    stopped: str = ""
    failed: bool = False
    device: str = "cpu"
    notes: tuple[str, ...] = ()

    @property
    def ended(self) -> str:
        """Why there are fewer epochs than asked for, and which one the result is of where that was a failure."""
        return f"{self.stopped}; the result is {which(self.chosen)}" if self.failed else self.stopped

    def to_json(self) -> dict[str, Any]:
        """All but the network as plain data; what is not a finite number is null."""
        return {
            "epochs": [_finite(asdict(epoch)) for epoch in self.history],
            "chosen": self.chosen,
            "before": _finite(asdict(self.before)),
            "after": _finite(asdict(self.after)),
            "judged_on": self.judged_on,
            "stopped": self.ended or None,
            "failed": self.failed,
            "changed": sorted(self.changed),
            "device": self.device,
            "notes": list(self.notes),
        }


def epoch_of(given: dict[str, Any]) -> Epoch:
    """An epoch from the plain data that `dataclasses.asdict` makes of it."""
    judged = given["judged"]
    return Epoch(
        **{
            **given,
            "judged": Judged(**judged) if judged is not None else None,
            "sparsity": Sparsity(**given["sparsity"]),
        }
    )


def which(number: int) -> str:
    """The network after an epoch, in words; 0: before the first."""
    return f"epoch {number}" if number else "the network as it was given"


def _finite(given: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _finite(value) if isinstance(value, dict) else None if _is_odd(value) else value
        for key, value in given.items()
    }


def _is_odd(value: object) -> bool:
    return isinstance(value, float) and not isfinite(value)


def summary(fitted: Fitted) -> tuple[str, ...]:
    """What came of a training, in lines: the score, the epochs, the sparsity, the notes."""
    before, after = fitted.before, fitted.after
    samples = f"{after.samples:,} {fitted.judged_on} sample{'s' * (after.samples != 1)}"
    done = f"{len(fitted.history)} epoch{'s' * (len(fitted.history) != 1)}"
    taken = f", the result is that of epoch {fitted.chosen}" if fitted.chosen != len(fitted.history) else ""
    lines = [f"{after.since(before)} on {samples}, after {done}{taken}"]
    lines += [f"stopped: {fitted.ended}"] * bool(fitted.stopped)
    reached = next((epoch for epoch in fitted.history if epoch.number == fitted.chosen), None)
    lines += [str(reached.sparsity)] if reached is not None and str(reached.sparsity) else []
    return (*lines, *fitted.notes)
