"""How to train: the options of the pass `train`, of the verb `train` and of `fit`, in one place. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from pruneir import files
from pruneir.conflicts import Idle, require_effect
from pruneir.errors import PruneirError
from pruneir.names import is_called

_SHARES = ("distill", "dropout", "gamma")
_POSITIVE = ("temperature", "lr")
_NOT_NEGATIVE = ("clip", "momentum", "weight_decay", "warmup", "l1_gamma", "l1_weights", "l2_weights")
_COUNTS = {"epochs": 1, "batch": 1, "patience": 1, "threads": 0}
_MOST_THREADS = 1024
"""What is far beyond a machine's cores ends torch without a word."""
_COLDEST, _HOTTEST = 1e-3, 1e3
LOSSES = ("auto", "cross-entropy", "mse", "multibox", "distill")


@dataclass(frozen=True)
class Training:
    """Train the graph itself: fine-tune it, or make it sparse for a pass that cuts. Names, order and types stay.

    Without labels the network learns from what it was before it was cut (`distill`: Hinton et al., 2015). A value that
    is not finite ends the training; the epochs before it count.

    epochs        how often all samples are seen
    loss          what is made small: cross-entropy (integer labels, from the values before a final Softmax), mse,
                  multibox (boxes, of a detector's outputs loc and conf: Liu et al., ECCV 2016),
                  distill (the distance from the teacher's outputs), or your own as module:function, f(outputs, labels,
                  teacher's outputs) → scalar; auto goes by the labels, and is distill without
    distill       share of the distance from the teacher in a loss with labels, 0–1
    match         how a teacher is compared: classes, the divergence of softmax(scores / temperature); values, the
                  squared difference over the variance; auto is classes before a final Softmax, values of
                  sigmoid(scores / temperature) before a final Sigmoid, the sum of both for other outputs [N, several],
                  values elsewhere
    ranked        globs of outputs whose numbers compete within a sample, as a detector's scores do over places and
                  scales: the divergence of softmax(numbers / temperature) over all of them is compared besides
    temperature   what scores are divided by where a softmax or a sigmoid of them is distilled
    anchors       .npy file of the anchors of `loss=multibox`, `[A, 4]`, where the graph does not hold them
    labelled      the output that labels are for, where there are several
    output_weights  weight of an output in the distance from the teacher, `NAME=0.5`; the others have 1
    optimizer     what takes the steps: sgd with Nesterov's momentum, or adamw
    lr            highest learning rate; by default 0.01 with sgd, 0.001 with adamw, or what the network bears: the
                  largest of these × 1/√10ⁿ at which three steps on one batch do not raise its loss
    momentum      share of the last step that sgd adds to the next
    weight_decay  share of matrices and kernels that is taken off, times the learning rate
    decay_all     take it off scales, shifts and biases too
    schedule      learning rate over the steps: constant, step, or cosine, down to 0
    milestones    shares of the training after which `step` lowers it
    gamma         factor by which `step` lowers it
    warmup        epochs in which it rises linearly from 0
    clip          largest norm of the gradient of all weights together; 0 is any
    batch         samples a step, unless the graph prescribes them
    patience      stop after so many epochs without a better validation score
    choose        epoch that is the result: best by validation score, or last; auto is the best, but the last without
                  validation samples, and with a penalty that makes sparse
    freeze        globs of tensors and nodes whose weights stay
    only          globs of tensors and nodes whose weights alone are trained
    freeze_bn     normalize by the running mean and variance of BatchNorms, and leave these as they are
    l1_gamma      weight λ of λ·Σ|γ| over BatchNorm scales, by a proximal step that makes exact zeros (Network Slimming)
    l1_weights    weight λ of λ·Σ|w| over matrices and kernels, likewise
    l1_at         globs of the tensors and nodes that `l1_weights` is for; by default all
    l2_weights    weight λ of λ/2·Σw² over them, added to the gradient
    keep_zeros    entries of matrices and kernels that are exactly zero stay so, unless all of a tensor are
    dropout       share of the inputs of `dropout_at` that is dropped in training; the file gets no operator for it
    dropout_at    globs of the Gemm, MatMul and Conv nodes, or their weights, that `dropout` is for; by default every
                  Gemm and MatMul
    adjust_dropout  lower it, and the graph's own, as connections went: D·√(C after / C before) (Han et al., 2015)
    device        where it runs: cpu, cuda or another of torch's; auto is cuda where there is one
    threads       threads of the CPU; 0 is as many as torch chooses

    Needs the extra `train`. Example: `--pass 'train{epochs=5,lr=0.02}'`.
    """

    idle: ClassVar[Idle] = {
        "momentum": ("optimizer", ("sgd",)),
        "decay_all": ("weight_decay", ()),
        **dict.fromkeys(("milestones", "gamma"), ("schedule", ("step",))),
        "l1_at": ("l1_weights", ()),
        "dropout_at": ("dropout", ()),
        "labelled": ("loss", ("auto", "cross-entropy", "mse")),
    }
    epochs: int = 10
    loss: str = field(default="auto", metadata=files.CODE)
    distill: float = 0.0
    match: Literal["auto", "classes", "values"] = "auto"
    ranked: tuple[str, ...] = ()
    temperature: float = 4.0
    anchors: str | None = field(default=None, metadata=files.NAMED)
    labelled: str | None = None
    output_weights: tuple[str, ...] = ()
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_all: bool = False
    schedule: Literal["constant", "step", "cosine"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    warmup: float = 0.0
    clip: float = 5.0
    batch: int = 64
    patience: int | None = None
    choose: Literal["auto", "best", "last"] = "auto"
    freeze: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    freeze_bn: bool = False
    l1_gamma: float = 0.0
    l1_weights: float = 0.0
    l1_at: tuple[str, ...] = ()
    l2_weights: float = 0.0
    keep_zeros: bool = True
    dropout: float = 0.0
    dropout_at: tuple[str, ...] = ()
    adjust_dropout: bool = True
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise PruneirError(f"train: {name}={value} is less than {least}")
        if self.threads > _MOST_THREADS:
            raise PruneirError(f"train: threads={self.threads} is more than {_MOST_THREADS}; 0 is what torch chooses")
        for name in (*_SHARES, *_POSITIVE, *_NOT_NEGATIVE):
            value = getattr(self, name)
            if value is None:
                continue
            if not 0 <= value < float("inf") or (name in _POSITIVE and value == 0):
                wanted = "a positive number" if name in _POSITIVE else "a number from 0 up"
                raise PruneirError(f"train: {name}={value:g} is not {wanted}")
            if name in _SHARES and value > 1:
                raise PruneirError(f"train: {name}={value:g} is not a share between 0 and 1")
        if not _COLDEST <= self.temperature <= _HOTTEST:
            raise PruneirError(f"train: temperature={self.temperature:g} is not from {_COLDEST:g} to {_HOTTEST:g}")
        if self.dropout == 1 or self.momentum >= 1:
            raise PruneirError("train: dropout and momentum are less than 1")
        if any(not 0 < share < 1 for share in self.milestones):
            raise PruneirError("train: milestones are shares of the training, between 0 and 1")
        if self.loss not in LOSSES and not _is_entry(self.loss):
            raise PruneirError(f"train: loss '{self.loss}' is not one of {', '.join(LOSSES)}, or module:function")
        if self.distill and self.loss == "distill":
            raise PruneirError("train: loss=distill is nothing else; distill is its share in a loss with labels")
        if self.distill and self.loss not in LOSSES:
            raise PruneirError(f"train: {self.loss} gets the teacher's outputs itself; leave distill out")
        self.weight_of("")
        require_effect(self, f"pass {self.name}" if hasattr(self, "name") else "train")

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return self.lr if self.lr is not None else {"sgd": 0.01, "adamw": 0.001}[self.optimizer]

    @property
    def sparsifies(self) -> bool:
        """Whether a penalty makes exact zeros, so that later epochs are meant to differ from the first."""
        return self.l1_gamma > 0 or self.l1_weights > 0

    def weight_of(self, output: str) -> float:
        """The weight of an output in the distance from the teacher; a later entry goes before an earlier."""
        found = 1.0
        for text in self.output_weights:
            name, _, value = text.rpartition("=")
            try:
                weight = float(value)
            except ValueError:
                weight = -1.0
            if not name or not 0 <= weight < float("inf"):
                raise PruneirError(f"train: output_weights takes NAME=WEIGHT, such as 'boxes=0.5', not '{text}'")
            found = weight if is_called([output], [name]) else found
        return found

    @property
    def options(self) -> dict[str, object]:
        """All options by name."""
        return {each.name: getattr(self, each.name) for each in fields(Training)}


def _is_entry(text: str) -> bool:
    module, _, function = text.partition(":")
    return all(part.isidentifier() for part in module.split(".")) and function.isidentifier()
