"""Which loss a training has, by its options, the labels, and what the network gives."""

from __future__ import annotations

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.data.entry import function_of
from pruneir.detection.heads import Heads
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.names import is_called, require_matches
from pruneir.tolerance import is_float
from pruneir.training.heads import Head, head_of
from pruneir.training.losses import Loss, Term, cross_entropy, distance, entry, mse, ranked
from pruneir.training.multibox import multibox
from pruneir.training.options import LOSSES, Training


def loss_of(
    graph: Graph, training: Training, labels: np.ndarray | None, teacher: bool, boxes: Heads | None = None
) -> Loss:
    """The loss of a training.

    labels   those of some samples; None if there are none
    teacher  whether there is a network to learn from
    boxes    the outputs that tell boxes, for `loss=multibox`
    """
    loss = _loss_of(graph, training, labels, teacher, boxes)
    if not loss.teaches or training.loss not in LOSSES:
        for name in ("ranked", "match", "temperature", "output_weights"):
            if getattr(training, name) != getattr(Training, name):
                raise PruneirError(
                    f"{name} is of the distance from a teacher, and loss={loss.text} does not compare with one; give "
                    "loss=distill, or distill=SHARE"
                )
    return loss


def _loss_of(graph: Graph, training: Training, labels: np.ndarray | None, teacher: bool, boxes: Heads | None) -> Loss:
    heads = [head_of(graph, name) for name in graph.outputs if _gives_floats(graph, name)]
    if training.loss not in LOSSES:
        outputs = tuple(graph.outputs)
        return Loss(((1.0, entry(function_of(training.loss), outputs)),), outputs, teacher, training.loss)
    if not heads:
        raise PruneirError("no output of the network is a float, so none can be learned; give loss=module:function")
    kind = training.loss if training.loss != "auto" else _by_labels(graph, training, heads, labels)
    if kind == "distill":
        return _from_teacher(training, heads, 1.0, teacher)
    if labels is None:
        raise PruneirError(f"loss={kind} needs labels, and the data have none; give --labels, or loss=distill")
    own = _by_kind(graph, training, heads, kind, boxes)
    share = training.distill
    if not share:
        return own
    taught = _from_teacher(training, heads, share, teacher)
    terms = tuple(((1.0 - share) * weight, term) for weight, term in own.terms)
    names = tuple(dict.fromkeys((*own.names, *taught.names)))
    text = f"{1 - share:g} {kind} + {share:g} {taught.text}"
    return Loss((*terms, *taught.terms), names, True, text)


def _by_kind(graph: Graph, training: Training, heads: list[Head], kind: str, boxes: Heads | None) -> Loss:
    """The loss of labels alone."""
    if kind == "multibox":
        assert boxes is not None
        term = multibox(graph, boxes)
        return Loss(((1.0, term),), (term.loc, term.conf), False, kind)
    head = _labelled(training, heads)
    if kind == "cross-entropy":
        return Loss(((1.0, cross_entropy(head)),), (head.value,), False, kind)
    return Loss(((1.0, mse(head)),), (head.output,), False, kind)


def _from_teacher(training: Training, heads: list[Head], share: float, teacher: bool) -> Loss:
    """The distance from the teacher, over all float outputs."""
    if not teacher:
        raise PruneirError("distilling needs the network to learn from; give --teacher ORIGINAL.onnx, or labels")
    weights = {head: training.weight_of(head.output) for head in heads}
    globs = [text.rpartition("=")[0] for text in training.output_weights]
    require_matches("output_weights", globs, [head.output for head in heads])
    total = sum(weights.values())
    if not total:
        raise PruneirError("output_weights leaves no output to learn; one must be more than 0")
    counting = [head for head, weight in weights.items() if weight]
    competing = _competing(training, heads, counting)
    terms: list[tuple[float, Term]] = [
        (share * weights[head] / total, distance(head, training.temperature, training.match)) for head in counting
    ]
    if competing:
        weight = sum(weights[head] for head in competing) / total
        terms.append((share * weight, ranked(competing, training.temperature)))
    names = tuple(dict.fromkeys(head.value for head in counting))
    return Loss(tuple(terms), names, True, "distillation")


def _competing(training: Training, heads: list[Head], counting: list[Head]) -> list[Head]:
    """The heads that `ranked` names, of those that count. PruneirError for a glob that names none of these."""
    require_matches("ranked", training.ranked, [head.output for head in heads])
    found: dict[str, Head] = {}
    for glob in training.ranked:
        named = {head.output: head for head in counting if is_called([head.output], [glob])}
        if not named:
            raise PruneirError(f"ranked: what '{glob}' names has weight 0 in output_weights; leave one of them out")
        found |= named
    return [head for head in counting if head.output in found]


def _by_labels(graph: Graph, training: Training, heads: list[Head], labels: np.ndarray | None) -> str:
    """The loss that labels go with; none without labels."""
    if labels is None:
        return "distill"
    head = _labelled(training, heads)
    if labels.dtype.kind in "iu" and (head.classes == "yes" or _classes(graph, head) != 1):
        return "cross-entropy"
    return "mse"


def _labelled(training: Training, heads: list[Head]) -> Head:
    """The output that labels are for."""
    known = [head.output for head in heads]
    if training.labelled is not None and training.labelled not in known:
        raise PruneirError(f"train: no float output is called '{training.labelled}'; they are {', '.join(known)}")
    if training.labelled is None and len(heads) > 1:
        raise PruneirError(
            f"labels could be for any of the outputs {', '.join(known)}; say for which by labelled=NAME, or give "
            "loss=multibox for boxes, loss=distill or loss=module:function"
        )
    return next(head for head in heads if training.labelled in (None, head.output))


def _classes(graph: Graph, head: Head) -> int | None:
    kind = graph.type_of(head.output)
    size = kind.shape[1] if kind is not None and kind.shape is not None and len(kind.shape) > 1 else None
    return size if isinstance(size, int) else None


def _gives_floats(graph: Graph, name: str) -> bool:
    kind = graph.type_of(name)
    return kind is None or not kind.elem_type or is_float(np.dtype(tensor_dtype_to_np_dtype(kind.elem_type)))
