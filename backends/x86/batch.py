"""A symbolic batch: one sample is compiled, and a run takes any number of them, one after the other.

That is the same function only where samples do not meet: every input and output has them along axis 0, and what comes
of several together is what comes of each alone. The first is read off the shapes, the second tried in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pruneir.deployment.parity import TOLERANCE
from pruneir.deployment.prepare import cleaned, known_shapes, with_fixed_sizes
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import evaluate
from pruneir.shapes import at_batch, infer
from pruneir.tolerance import is_float
from pruneir.verify.feeds import random_feeds

SAMPLES = 3
"""Of the batch that is tried."""


def of_one_sample(graph: Graph, target: str) -> tuple[Graph, bool]:
    """The graph with fixed sizes, and whether it stands for one sample of a batch of any size.

    PruneirError, with the remedy, for a symbolic size that is no batch, a batch whose samples meet, and what is not
    compiled whatever its sizes.
    """
    fixed = with_fixed_sizes(graph, target)
    if fixed is graph:
        return graph, False
    shapes = {name: infer(fixed).shape(name) for name in fixed.data_inputs}
    asked = " ".join(f"--input-shape {name}:{','.join(map(str, shape or ()))}" for name, shape in shapes.items())
    ready = cleaned(fixed)
    known_shapes(ready)
    met = _meeting(graph)
    if met:
        raise PruneirError(f"{target} runs a symbolic batch sample by sample, but {met}; fix the sizes: {asked}")
    return ready, True


def _meeting(graph: Graph) -> str:
    """What speaks against samples on their own; empty if nothing does."""
    sizes = infer(graph).inputs
    one, several = (infer(graph, at_batch(graph, sizes, batch)) for batch in (1, SAMPLES))
    for name in (*graph.data_inputs, *graph.outputs):
        alone, together = one.shape(name), several.shape(name)
        if not alone or alone[0] != 1 or together != (SAMPLES, *alone[1:]):
            return f"'{name}' does not have one entry a sample along axis 0"
    feeds = random_feeds(graph, batch=SAMPLES)
    try:
        whole = next(iter(evaluate(graph, graph.outputs, [feeds])))
        parts = list(evaluate(graph, graph.outputs, [_sample(feeds, index) for index in range(SAMPLES)]))
    except PruneirError as error:
        return f"it does not run {SAMPLES} samples together ({error})"
    apart = [name for name, array in whole.items() if not _alike(array, np.concatenate([part[name] for part in parts]))]
    return f"what '{apart[0]}' has for one depends on the others" if apart else ""


def _sample(feeds: Mapping[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    return {name: array[index : index + 1] for name, array in feeds.items()}


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    if not is_float(one.dtype):
        return bool(np.array_equal(one, other))
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0)
    return TOLERANCE.allows(float(difference), float(np.abs(other).max(initial=0.0)))
