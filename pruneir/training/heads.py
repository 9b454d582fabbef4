"""What a loss looks at: for an output, the value that says most about it.

That of a final Softmax, LogSoftmax or Sigmoid is its input, the logits: log Σ exp is computed from these without
overflow, and they still say something where probabilities are all but 0 and 1. Every other float output stands for
itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pruneir.detection.heads import maker_of
from pruneir.errors import PruneirError
from pruneir.graph import Graph


@dataclass(frozen=True, slots=True)
class Head:
    """An output as a loss sees it.

    output   the graph's output
    value    the value to compare: the logits, or the output itself
    axis     the axis of classes; None where no Softmax says that there are some
    flatten  whether the Softmax, before opset 13, runs over `axis` and all behind it together
    classes  whether these are scores of classes: yes, no, each of its own where a Sigmoid says so, or maybe, where only
             the shape [N, classes] does
    """

    output: str
    value: str
    axis: int | None = None
    flatten: bool = False
    classes: Literal["yes", "no", "each", "maybe"] = "no"

    def scores(self, value: Tensor) -> Tensor:
        """The scores of classes, `[N, classes, …]`; axis 1 is that of classes where no Softmax says another."""
        axis = 1 if self.axis is None else self.axis
        if self.flatten:
            return value.flatten(axis).movedim(-1, 1) if value.ndim > axis else value
        if self.axis is None and value.ndim > 2 and value[0].numel() == value.shape[1]:
            return value.flatten(1)
        return value.movedim(axis, 1) if value.ndim > 1 else value


def head_of(graph: Graph, output: str) -> Head:
    """The head of an output."""
    operator = maker_of(graph, output)
    if operator is not None and operator.is_a("Sigmoid"):
        return Head(output, operator.inputs[0], classes="each")
    if operator is None or not operator.is_a("Softmax", "LogSoftmax"):
        return Head(output, output, classes="maybe" if _is_flat(graph, output) else "no")
    old = graph.opset() < 13
    axis = int(operator.attribute("axis", 1 if old else -1))
    return Head(output, operator.inputs[0], axis, flatten=old, classes="yes")


def counterparts(graph: Graph, teacher: Graph) -> dict[str, str]:
    """What the teacher calls the values that losses compare. PruneirError unless it has the same interface."""
    for what, ours, theirs in (
        ("input", graph.data_inputs, teacher.data_inputs),
        ("output", graph.outputs, teacher.outputs),
    ):
        if set(ours) != set(theirs):
            raise PruneirError(
                f"the teacher's {what}s are {', '.join(theirs)}, the network's {', '.join(ours)}; it must be the "
                "network before it was cut"
            )
    found = {}
    for name in graph.outputs:
        here, there = head_of(graph, name), head_of(teacher, name)
        if (here.value == name) != (there.value == name):
            raise PruneirError(
                f"'{name}' ends in a Softmax or Sigmoid in one of network and teacher only; give --teacher another"
            )
        found[here.value] = there.value
    return found


def _is_flat(graph: Graph, output: str) -> bool:
    """Whether an output is [N, several], whatever axes of length 1 follow, and may be scores of classes."""
    kind, operator = graph.type_of(output), maker_of(graph, output)
    shape = kind.shape if kind is not None else None
    if not shape or len(shape) < 2 or shape[1] == 1 or any(size != 1 for size in shape[2:]):
        return False
    return operator is None or not operator.is_a("HardSigmoid", "Tanh")
