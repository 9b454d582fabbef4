"""Masks that let the winners of a value through, as `integral` puts them: two operators of our own.

    Abs, Flatten, Slice, TopK, Slice, Reshape   ──▶  θ = Threshold(x)      a number a sample
    Less, Where                                 ──▶  y = Winners(x, θ)     elementwise

A threshold is found without ranking, in any order of the channels, and the mask becomes part of what is around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import onnx

from pruneir.backends.x86.expressions import Place
from pruneir.backends.x86.template import instance
from pruneir.backends.x86.work import Phase, Setting, Work, output, rule
from pruneir.folding.edit import remove_dead
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes
from pruneir.sparsity.winners import Winners, winners

_PASSES = 16
"""Over the numbers, until a threshold is found; measured on activations, 13 to 20."""


def with_masks(graph: Graph, shapes: Shapes) -> Graph:
    """The graph, or a copy in which these two operators stand for masks."""
    found = [mask for mask in winners(graph) if _is_known(mask, graph, shapes)]
    if not found:
        return graph
    whole = graph.copy()
    for mask in found:
        where, made = whole.producer(mask.output), whole.producer(mask.threshold)
        assert where is not None
        whole.replace(where, Operator("Winners", (mask.source, mask.threshold), where.outputs, name=where.name))
        if made is not None and not made.is_a("Threshold"):
            details = {"k": mask.kept, "step": mask.step}
            whole.replace(made, Operator("Threshold", (mask.source,), made.outputs[:1], details, made.name))
    remove_dead(whole)
    return whole


def _is_known(mask: Winners, graph: Graph, shapes: Shapes) -> bool:
    """Whether it is one threshold for each sample of float32 numbers, and nothing else is read of what makes it."""
    shape, threshold = shapes.shape(mask.source), shapes.shape(mask.threshold)
    if shape is None or not prod(shape) or shapes.elem_type(mask.source) != onnx.TensorProto.FLOAT:
        return False
    if mask.step == 0:
        return True
    made = graph.producer(mask.threshold)
    if made is None or any(graph.users(name) or name in graph.outputs for name in made.outputs[1:]):
        return False
    return mask.kept is not None and threshold == (shape[0], *(1 for _ in shape[1:]))


@dataclass(frozen=True, slots=True)
class Threshold:
    """The kernel of a threshold: runtime/threshold.h. Pointers: x, y, operands of the epilogue."""

    samples: int
    channels: int
    points: int
    step: int
    k: int
    lanes: int
    weight_bytes: int = 0

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return self.samples

    @property
    def count(self) -> int:
        """Numbers that are looked at in a sample."""
        return ceil(self.channels * self.points / self.step)

    @property
    def scratch(self) -> int:
        """Bytes of private memory that a thread needs."""
        return 4 * self.lanes * ceil(self.count / self.lanes)

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic."""
        return self.samples * (_PASSES * 1.5 * ceil(self.count / self.lanes) + 2 * self.count)

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        sizes = {"CHANNELS": self.channels, "POINTS": self.points, "COUNT": self.count}
        return instance("threshold.h", name, finish, {**sizes, "STEP": self.step, "K": self.k})


@rule("Threshold")
def threshold(operator: Operator, setting: Setting) -> Work | None:
    """Over all of a sample but axis 0."""
    shape = setting.shape(operator)
    assert shape is not None
    step, k = operator.attribute("step"), operator.attribute("k")
    kernel = Threshold(shape[0], shape[1], prod(shape[2:]), step, k, setting.cpu.lanes)
    place = Place(output(operator, setting), 1)
    return Work(operator.inputs[0], place, (Phase(kernel, "threshold"),), last=len(shape) > 2)
