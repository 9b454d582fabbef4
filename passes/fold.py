"""`fold`: the clean-up before everything else."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pruneir.folding.arithmetic import fold_shape_arithmetic
from pruneir.folding.constants import fold_subgraphs, lower_constants
from pruneir.folding.edit import remove_dead
from pruneir.folding.rewrites import rewrite
from pruneir.folding.sizes import Samples
from pruneir.graph import Graph
from pruneir.onnx_io import inline_functions
from pruneir.pipeline.passes import Context, Pass, Result

_ROUNDS = 8
"""What one round makes constant the next may build on; real networks need two."""


@dataclass(frozen=True)
class Fold(Pass):
    """Compute once what does not depend on data, and remove what does nothing. Lossless for every input.

    1. Local functions are replaced by their bodies, Constant operators by initializers.
    2. Operators that return their input go: Identity, Dropout, a Cast to the type it has, a Reshape to the shape it
       has, a Pad by nothing, a Slice of everything. Views of views become one; Transposes that cancel go, also through
       elementwise operators, `T(f(T(x, p)), q)` → `f(T(x, p[q]))`, as exports from NHWC frameworks leave them. An
       Expand goes whose readers broadcast by themselves. A ScatterND that writes a whole part of a tensor, as
       `x[:, 2:4] = y` is exported, becomes a Concat of that part and what is around it.
    3. A channel shuffle, Reshape–Transpose–Reshape that only reorders one axis, becomes a Gather with constant indices.
    4. Operators on constants are computed: integers and ConstantOfShape always, other floats if they are at most 4096
       numbers, or take no more bytes than the constants that they are made of, through however many operators. Never:
       quantization, random numbers, a matrix that would become two.
    5. Arithmetic on shapes is run at several sizes of every symbolic axis. What is the same at all of them becomes
       constant; in the target of a Reshape, an entry that varies becomes 0 where it copies an axis and -1 where it is
       the only one left; other dynamic sizes are read from a graph input instead of an inner tensor. A Resize to sizes
       of which only those of kept axes vary gets constant sizes of the other axes, before opset 18 constant scales.
       A constant that is spread over a batch, by Expand or ConstantOfShape, is spread over constant sizes first.
    6. What no output depends on goes: operators, and initializers, also those that are inputs of an old file.

    Names, types and order of the graph's inputs and outputs stay, subgraphs of If and Loop stay as they are, and a
    constant has its tensor's name. Constants are computed by ONNX Runtime through onnx-graphsurgeon.

        x[N,8,4,4] -> y { s = Shape(x); n = Gather(s, {0}); t = Concat(n, {-1}, axis=0); y = Reshape(x, t) }
        x[N,8,4,4] -> y { y = Reshape(x, {0,-1}) }
    """

    name = "fold"
    lossy = False

    def run(self, graph: Graph, context: Context) -> Result:
        """The graph without what can be computed now, and a line that counts it."""
        folded = inline_functions(graph).copy()
        before, done = len(folded.operators), Counter({"Constants made initializers": lower_constants(folded)})
        samples = Samples(folded.copy())
        for _ in range(_ROUNDS):
            found = rewrite(folded, samples)
            found["operators computed"] += fold_subgraphs(folded)
            found += fold_shape_arithmetic(folded, samples)
            found["dead operators removed"] += remove_dead(folded)
            done += found
            if not found.total():
                break
        return Result(folded, notes=(_summary(before, len(folded.operators), +done),))


def _summary(before: int, after: int, done: Counter[str]) -> str:
    """One line: what was done how often."""
    if not done:
        return "nothing to fold"
    return f"{before} → {after} operators: " + ", ".join(f"{count} {what}" for what, count in done.items())
