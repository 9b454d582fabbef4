"""Training a graph: epochs over samples, judged between them, written back in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

from pruneir.data import Data
from pruneir.detection.anchors import Anchors
from pruneir.detection.heads import heads_if_any, heads_of
from pruneir.errors import PruneirError
from pruneir.files import digests
from pruneir.graph import Graph
from pruneir.pipeline.plan import Plan
from pruneir.progress import Progress, silent
from pruneir.training import checkpoint as files
from pruneir.training.checkpoint import Checkpoint, Folder
from pruneir.training.chosen import chosen
from pruneir.training.dropout import with_dropout
from pruneir.training.environment import device_of, settings
from pruneir.training.epochs import NotFinite, Stepper
from pruneir.training.feeding import Feeder
from pruneir.training.heads import counterparts
from pruneir.training.history import Epoch, Fitted, Judged, which
from pruneir.training.judging import Judge, float_outputs
from pruneir.training.losses import Loss
from pruneir.training.multibox import require_boxes
from pruneir.training.network import Network
from pruneir.training.objective import loss_of
from pruneir.training.options import LOSSES, Training
from pruneir.training.parameters import untied
from pruneir.training.penalties import Masks, Penalties, sparsity_of
from pruneir.training.rates import optimizer
from pruneir.training.state import State, put, taken
from pruneir.training.steadiness import steady_rate
from pruneir.training.writing import write_back

_JUDGED = 1024
"""Training samples that a network is judged on where there are none for validation."""
_CHECKED = 32
"""Samples on which what is written must equal what was trained."""
_ALIKE = 1e-9
"""A distance from the teacher that is none."""


Penalizing = Callable[[Network, list[str], Training, "Masks | None"], Penalties]
"""What makes the penalties of a training: of its network, the tensors that it trains, its options, and masks."""


class NothingToLearn(PruneirError):
    """The teacher computes what the network does, and nothing else is asked for."""


def fit(
    graph: Graph,
    training: Training,
    data: Data,
    validation: Data | None = None,
    teacher: Graph | None = None,
    *,
    seed: int = 0,
    masks: Masks | None = None,
    plan: Plan | None = None,
    anchors: Anchors | None = None,
    progress: Progress = silent,
    checkpoints: Path | None = None,
    resume: bool = False,
    penalties: Penalizing = Penalties,
) -> Fitted:
    """Train a graph, which is not changed. On a CPU the result follows from the arguments, bit for bit.

    data         samples to train on
    validation   samples to judge every epoch on, for `patience` and the best epoch
    teacher      the network to learn from, with the same inputs and outputs; for losses that look at one
    seed         of the order of samples and of dropout
    masks        by tensor: what may differ from zero
    plan         what was cut of the network before, for the dropout that this leaves
    anchors      of a detector, for its loss and its score; none: those that one of the graphs holds
    progress     told what it is at, and the share that is done
    checkpoints  a folder for the state after each epoch; with `resume` a training that was stopped goes on from there
    penalties    makes what acts on gradients and weights in each step; what it keeps to itself is in no checkpoint
    PruneirError for options that do not fit the network or the data, and if what is written does not equal what was
    trained. A loss that is not finite ends the training: `Fitted.failed`.
    """
    if training.patience is not None and validation is None:
        raise PruneirError("patience is of the validation score; give --val")
    with settings(training.threads):
        given = (training, data, validation, teacher, anchors, seed, masks, plan or Plan(), progress, penalties)
        run = _Run(untied(graph), *given)
        folder = None
        if checkpoints is not None:
            named = {f"the file of {name}": digest[:16] for name, digest in digests(training).items()}
            boxes = {} if anchors is None else {"the file of anchors": str(anchors)}
            told = {**training.options, **boxes, **named, "seed": seed}
            networks = {"network": graph, "teacher": teacher}
            folder = Folder(checkpoints, files.mark_of(told, networks, {"data": data, "validation": validation}))
        return run.run(folder, resume=resume)


@dataclass(slots=True)
class _Best:
    """The result so far: the best epoch, or the last that ended well."""

    state: State
    number: int
    judged: Judged


class _Run:
    def __init__(
        self,
        graph: Graph,
        training: Training,
        data: Data,
        validation: Data | None,
        teacher: Graph | None,
        anchors: Anchors | None,
        seed: int,
        masks: Masks | None,
        plan: Plan,
        progress: Progress,
        penalties: Penalizing,
    ):
        self.graph, self.training, self.data, self.validation = graph, training, data, validation
        self.progress = progress
        self.device = device_of(training.device)
        self.feeder = Feeder(training.batch, self.device)
        trained, ratios = with_dropout(graph, training, plan)
        self.network = Network(trained).to(self.device)
        self.network.freeze_statistics = training.freeze_bn
        names = chosen(graph, self.network.weights, training.freeze, training.only)
        for name, weight in self.network.weights.items():
            weight.requires_grad_(name in names)
        self.penalties = penalties(self.network, names, training, masks)
        first = next(iter(data.batches(min(_CHECKED, training.batch), _CHECKED)))
        self.first = first
        labels = first.labels
        outputs = float_outputs(graph, self.network.eval(), self.feeder.fed(first))
        networks = [graph, *([teacher] if teacher is not None else [])]
        boxes = heads_of if training.loss == "multibox" else heads_if_any
        heads = boxes(networks, outputs, anchors)
        self.loss: Loss = loss_of(graph, training, labels, teacher is not None, heads)
        self._require_labels()
        learned, theirs = None, {}
        if teacher is not None and (self.loss.teaches or labels is None):
            theirs = counterparts(graph, teacher)
            learned = Network(teacher).to(self.device).eval().requires_grad_(False)
        self.judge = Judge(self.loss, learned, tuple(outputs), theirs, heads)
        self.optimizer = optimizer([self.network.weights[name] for name in names], training)
        self.stepper = Stepper(
            self.network, training, data, self.feeder, self.judge, self.penalties, self.optimizer, seed, progress
        )
        choose = training.choose
        if choose == "best" and validation is None:
            raise PruneirError("choose=best is by the validation score; give --val")
        self.best_counts = choose == "best" or (choose == "auto" and validation is not None and not training.sparsifies)
        self.history: list[Epoch] = []
        self.notes = list(filter(None, (str(self.penalties), _told(ratios), self._small_batches())))

    def run(self, folder: Folder | None, *, resume: bool) -> Fitted:
        """The epochs, from the first or from a checkpoint on."""
        found = folder.opened(resume=resume) if folder is not None else None
        if found is None:
            self._require_lesson()
        self.penalties.mask()
        self._steady()
        self.given = taken(self.network)
        if found is not None and folder is not None:
            if why := found.misfit(self.given, self.optimizer):
                raise folder.damaged(why)
            before, best = self._restored(found)
        else:
            self.progress("judging", 0.0)
            before = self._judged()
            best = _Best(self.given, 0, before)
        stopped, failed = "", False
        for number in range(len(self.history) + 1, self.training.epochs + 1):
            if self._is_patient(before):
                stopped = f"no better {before.kind} for {self.training.patience} epochs"
                break
            try:
                self._epoch(number)
            except NotFinite as problem:
                stopped, failed = str(problem), True
                break
            state, judged = taken(self.network), self.history[-1].judged
            if not self.best_counts or (judged is not None and judged.beats(best.judged)):
                best = _Best(state, number, judged or best.judged)
            if folder is not None:
                kept = best.state if best.number != number else {}
                folder.keep(
                    Checkpoint(state, files.buffers(self.optimizer), tuple(self.history), before, kept, best.number)
                )
        return self._fitted(before, best, stopped, failed)

    def _epoch(self, number: int) -> None:
        """Train one epoch, judge it, and write it down. NotFinite if a value was not."""
        start = time.perf_counter()
        loss, now = self.stepper.epoch(number)
        judged = self._judged() if self.validation is not None else None
        sound = judged or self.judge.judge(self.network, [self.feeder.fed(self.first)])
        if not isfinite(sound.loss):
            raise self.stepper.failure(f"the loss is {sound.loss} after epoch {number}", now)
        seconds = time.perf_counter() - start
        self.history.append(Epoch(number, loss, now, judged, sparsity_of(self.network), seconds))

    def _judged(self) -> Judged:
        """The network as it is, on the validation samples, or the first of those it is trained on."""
        if self.validation is not None:
            return self.judge.judge(self.network, self.feeder.ordered(self.validation))
        return self.judge.judge(self.network, self.feeder.ordered(self.data, _JUDGED))

    def _is_patient(self, before: Judged) -> bool:
        """Whether there was no better score for as many epochs as patience lasts."""
        if self.training.patience is None:
            return False
        best, since = before, 0
        for epoch in self.history:
            assert epoch.judged is not None
            best, since = (epoch.judged, 0) if epoch.judged.beats(best) else (best, since + 1)
        return since >= self.training.patience

    def _steady(self) -> None:
        """Lower a learning rate that nobody gave to what the network bears."""
        training = self.training
        if training.lr is None and (found := steady_rate(self.stepper)) < training.rate:
            self.stepper = replace(self.stepper, training=replace(training, lr=found))
            self.notes.append(f"lr {found:.2g}: {training.rate:g} raises the loss of a batch from step to step")

    def _restored(self, found: Checkpoint) -> tuple[Judged, _Best]:
        """Where a checkpoint left off."""
        put(self.network, found.state)
        files.with_buffers(self.optimizer, found.optimizer)
        self.history = list(found.history)
        self.notes.append(f"went on after epoch {len(self.history)}")
        judged = self.history[found.chosen - 1].judged if found.chosen else found.before
        return found.before, _Best(found.best or found.state, found.chosen, judged or found.before)

    def _fitted(self, before: Judged, best: _Best, stopped: str, failed: bool) -> Fitted:
        self.progress("writing back", 1.0)
        after = best.judged
        if self.validation is None:
            put(self.network, best.state)
            after = self._judged()
            if self.training.choose == "auto" and not (failed or self.training.sparsifies) and after.is_ruin_of(before):
                self.notes.append(f"training made it worse, {after.since(before)}: the result is {which(0)}; lower lr")
                best, after = _Best(self.given, 0, before), before
        written, changed = write_back(self.graph, best.state, self.first)
        if self.best_counts and not best.number and self.history:
            self.notes.append("no epoch was better than the network as it was given, which is the result")
        if not self.best_counts and not self.training.sparsifies and before.beats(after):
            self.notes.append("worse than the network as it was given: lower lr, or give --val to keep the best epoch")
        return Fitted(
            graph=written,
            history=tuple(self.history),
            changed=changed,
            before=before,
            after=after,
            judged_on="training" if self.validation is None else "validation",
            chosen=best.number,
            stopped=stopped,
            failed=failed,
            device=str(self.device),
            notes=tuple(self.notes),
        )

    def _require_labels(self) -> None:
        """PruneirError where a loss of labels finds none to judge by, or boxes of nothing to learn from."""
        if self.training.loss == "multibox":
            require_boxes(self.data)
        if self.training.loss not in LOSSES or self.loss.text == "distillation" or self.validation is None:
            return
        if not self.validation.has_labels:
            raise PruneirError(f"--val has no labels, and loss={self.loss.text} needs some; label it, or leave it out")

    def _require_lesson(self) -> None:
        """NothingToLearn where only the distance from the teacher counts, and that is zero."""
        training = self.training
        if self.loss.text != "distillation" or training.sparsifies or training.l2_weights or training.dropout:
            return
        if self.penalties.teaches:
            return
        if self.judge.judge(self.network, [self.feeder.fed(self.first)]).loss <= _ALIKE:
            raise NothingToLearn(
                "there is nothing to learn: without labels the network learns from its teacher, and that computes the "
                "same; give --teacher ORIGINAL.onnx, the network before it was cut, or labels"
            )

    def _small_batches(self) -> str:
        if (self.data.batch or self.training.batch) > 1 or not self.network.statistics or self.training.freeze_bn:
            return ""
        return (
            "batches have a single sample, over which BatchNorm takes its statistics; give freeze_bn, or free the "
            "batch axis, --input-shape x:N,…"
        )


def _told(ratios: dict[str, float]) -> str:
    return "dropout " + ", ".join(f"{ratio:.3g} before {name}" for name, ratio in ratios.items()) if ratios else ""
