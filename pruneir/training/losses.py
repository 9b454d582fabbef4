"""What training makes small: the distance from labels, from a teacher, or both.

cross-entropy   −log softmax(z)[label], mean over samples (and places, where outputs have some)
mse             mean (y − label)²
multibox        see `multibox`
distance from the teacher, per output with values z, teacher's t:
    classes   T²·KL(softmax(t/T) ‖ softmax(z/T)), mean over samples and places (Hinton et al., 2015): of what a final
              Softmax gets
    values    Σ(z − t)² / Σ(t − t̄)², t̄ the mean of each element over the batch: 0 where they agree, 1 for a constant
              guess, whatever the units; of class scores, these are matched logits (Ba and Caruana, NIPS 2014)
    each      the same of σ(z/T) and σ(t/T), where z and t are what a final Sigmoid gets, and neither of the former is
              asked for
    both      the sum of the two, where an output [N, several] may hold scores of classes or values that matter as such
    ranked    T²·KL(softmax(t/T) ‖ softmax(z/T)) over all numbers of a sample, those of several outputs together, mean
              over samples (top-one probabilities: Cao et al., ICML 2007; over the places of a map: Shu et al., ICCV
              2021), added to what else is compared
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pruneir.errors import PruneirError
from pruneir.training.heads import Head

Values = Mapping[str, Tensor]
Term = Callable[[Values, "Tensor | None", "Values | None"], Tensor]
"""(values, labels, teacher's values) → scalar."""
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class Loss:
    """Some terms, each with its weight.

    names     values that the network must give, of which the loss is made
    teaches   whether it looks at the teacher
    text      what it is, in words
    """

    terms: tuple[tuple[float, Term], ...]
    names: tuple[str, ...]
    teaches: bool
    text: str

    def __call__(self, values: Values, labels: Tensor | None = None, taught: Values | None = None) -> Tensor:
        """The loss of a batch: of `values` and of the teacher's, by name."""
        return torch.stack([weight * term(values, labels, taught) for weight, term in self.terms]).sum()


def cross_entropy(head: Head) -> Term:
    """The term for integer labels `[N]`, or `[N, …]` for scores `[N, classes, …]`."""

    def term(values: Values, labels: Tensor | None, taught: Values | None) -> Tensor:
        scores, given = head.scores(values[head.value]), labels_of(labels)
        if scores.ndim < 2 or given.numel() * scores.shape[1] != scores.numel():
            raise PruneirError(
                f"cross-entropy: labels {list(given.shape)} do not go with '{head.output}', whose scores are "
                f"{list(scores.shape)}; give one label for each sample, or for each place, or another loss"
            )
        classes = scores.shape[1]
        if given.is_floating_point():
            raise PruneirError("cross-entropy takes integer labels, and these are floats; give loss=mse")
        if int(given.min()) < 0 or int(given.max()) >= classes:
            raise PruneirError(
                f"cross-entropy: labels from {int(given.min())} to {int(given.max())}, but '{head.output}' has "
                f"{classes} classes; give labels from 0 to {classes - 1}"
            )
        return functional.cross_entropy(scores, given.long().reshape(scores.shape[0], *scores.shape[2:]))

    return term


def mse(head: Head) -> Term:
    """The term for labels of the output's own shape; an output of one number a sample takes labels `[N]`."""

    def term(values: Values, labels: Tensor | None, taught: Values | None) -> Tensor:
        output, given = values[head.output], labels_of(labels)
        if output.numel() != given.numel() or len(output) != len(given):
            raise PruneirError(
                f"mse: labels {list(given.shape)} do not go with '{head.output}', which is {list(output.shape)}; give "
                "as many numbers for each sample, or classes as integers"
            )
        return functional.mse_loss(output, given.reshape(output.shape).to(output.dtype))

    return term


def distance(head: Head, temperature: float, match: Literal["auto", "classes", "values"] = "auto") -> Term:
    """The term for a teacher: of scores of classes, of values, or where one cannot tell of both."""
    if head.classes == "each" and match == "auto":
        return _difference(head, lambda value: (value / temperature).sigmoid())
    if match == "classes" or (match == "auto" and head.classes == "yes"):
        return _divergence(head, temperature)
    if match == "values" or head.classes == "no":
        return _difference(head)
    first, second = _divergence(head, temperature), _difference(head)
    return lambda values, labels, taught: first(values, labels, taught) + second(values, labels, taught)


def ranked(heads: Sequence[Head], temperature: float) -> Term:
    """The term for a teacher of which the numbers of a sample compete, all of these outputs together."""

    def term(values: Values, labels: Tensor | None, taught: Values | None) -> Tensor:
        both = (values, _taught(taught))
        ours, theirs = (torch.cat([_row(each[head.value]) for head in heads], dim=1) for each in both)
        return _softened(ours, theirs, temperature)

    return term


def _row(value: Tensor) -> Tensor:
    """All numbers of each sample, `[N, numbers]`."""
    return value.reshape(len(value), -1)


def entry(function: Callable[..., Any], outputs: tuple[str, ...]) -> Term:
    """The term that a user's function computes: f(outputs, labels, teacher's outputs or None), each by name."""

    def term(values: Values, labels: Tensor | None, taught: Values | None) -> Tensor:
        theirs = None if taught is None else {name: taught[name] for name in outputs}
        try:
            found = function({name: values[name] for name in outputs}, labels, theirs)
        except Exception as error:  # whatever the user's own function thinks of
            told = str(error).strip().splitlines() or [""]
            raise PruneirError(f"the loss {function.__name__} fails: {type(error).__name__}: {told[0]}") from error
        cut_off = isinstance(found, Tensor) and torch.is_grad_enabled() and not found.requires_grad
        if not isinstance(found, Tensor) or found.numel() != 1 or cut_off:
            got = f"a tensor {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise PruneirError(f"the loss {function.__name__} gave {got}, not a scalar tensor made of the outputs")
        return found.reshape(())

    return term


def _divergence(head: Head, temperature: float) -> Term:
    def term(values: Values, labels: Tensor | None, taught: Values | None) -> Tensor:
        ours, theirs = head.scores(values[head.value]), head.scores(_taught(taught)[head.value])
        return _softened(ours, theirs, temperature)

    return term


def _softened(ours: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """T²·KL over axis 1, the mean over all other axes."""
    logs, goals = (functional.log_softmax(each / temperature, dim=1) for each in (ours, theirs))
    places = logs.numel() // logs.shape[1]
    return temperature**2 * functional.kl_div(logs, goals, reduction="sum", log_target=True) / places


def _difference(head: Head, seen: Callable[[Tensor], Tensor] = lambda value: value) -> Term:
    def term(values: Values, labels: Tensor | None, taught: Values | None) -> Tensor:
        ours, theirs = seen(values[head.value]), seen(_taught(taught)[head.value])
        spread = (theirs - theirs.mean(dim=0, keepdim=True)).square().sum() if theirs.ndim else theirs.square()
        scale = torch.where(spread > _FLOOR, spread, theirs.square().sum()).clamp_min(_FLOOR)
        return (ours - theirs).square().sum() / scale

    return term


def _taught(taught: Values | None) -> Values:
    if taught is None:
        raise PruneirError("the loss compares with a teacher, and there is none")
    return taught


def labels_of(labels: Tensor | None) -> Tensor:
    """The labels; PruneirError if there are none."""
    if labels is None:
        raise PruneirError("the loss needs labels, and the data have none; give --labels, or loss=distill")
    return labels
