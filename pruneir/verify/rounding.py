"""How far rounding alone moves a network's outputs.

A network may magnify rounding: by a BatchNormalization that saw a channel constant, and so has a variance of zero, or a
norm that divides by what is all but zero. Another order of the same computation is then further off than the tolerance
says, and so is the network itself as soon as the last bit of its weights is another: that is the measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import Feeds
from pruneir.sparsity.weights import weights, with_values
from pruneir.tolerance import tolerance_of
from pruneir.verify.drift import Drift, compare

_SEEDS = 3
_TIMES = 4.0
"""Of two roundings of one computation, how much larger one may be than the other."""
_MOST = 100.0
"""Times the tolerance, beyond which nothing is called rounding."""


def with_rounding(found: Sequence[Drift], before: Graph, batches: Sequence[Feeds]) -> tuple[Drift, ...]:
    """What was compared with a network; equal, too, where its weights' last bits alone move it about as far.

    batches  what it was compared on
    """
    most = _MOST * tolerance_of(before).relative
    doubtful = [drift for drift in found if not drift.equal and drift.largest <= most and len(drift.at) == 1]
    if not doubtful:
        return tuple(found)
    measured: dict[tuple[str, tuple[str, ...]], float] = {}
    for shaken in _shaken(before):
        for drift in compare(shaken, before, batches):
            key = (drift.name, drift.at)
            measured[key] = max(measured.get(key, 0.0), drift.difference)
    return tuple(
        _judged(drift, measured.get((drift.name, drift.at), 0.0)) if drift in doubtful else drift for drift in found
    )


def _judged(drift: Drift, moved: float) -> Drift:
    is_rounding = np.isfinite(moved) and drift.difference <= _TIMES * moved
    return replace(drift, equal=True, rounding=moved) if is_rounding else drift


def _shaken(graph: Graph) -> Iterator[Graph]:
    """The network with every weight the next number above or below, as chance has it; zeros stay."""
    for seed in range(_SEEDS):
        random, values = np.random.default_rng(seed), {}
        for weight in weights(graph):
            array = weight.array
            if array.dtype.kind == "f":
                ends = np.where(random.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
                values[weight.name] = np.where(array == 0, array, np.nextafter(array, ends))
        yield with_values(graph, values)
