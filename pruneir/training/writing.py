"""From a trained network back to a graph, which must compute what the interpreter does."""

from __future__ import annotations

import numpy as np
import torch

from pruneir.data import Batch
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io import evaluate
from pruneir.tolerance import is_float, tolerance_of
from pruneir.training.feeding import Feeder
from pruneir.training.network import Network
from pruneir.training.state import State, put

_ROUNDING = 10.0
"""Of two roundings of one computation, how much larger one may be than the other."""


def write_back(graph: Graph, state: State, batch: Batch) -> tuple[Graph, frozenset[str]]:
    """The graph with the values of a state, and the names of the tensors that are not what they were.

    batch  samples on which ONNX Runtime must give what the interpreter gives, to 1e-5 of the largest in float32; or,
           for networks that magnify rounding, be about as near as the interpreter to what that gives in float64
    PruneirError if it does not.
    """
    network = Network(graph).eval()
    put(network, state)
    written = network.written()
    changed = frozenset(name for name in state if not _same(graph.constant(name), written.constant(name)))
    _require_equal(network, written, batch)
    return written, changed


def _require_equal(network: Network, written: Graph, batch: Batch) -> None:
    ours = _run(network, batch)
    (found,) = evaluate(written, written.outputs, [batch.feeds])
    theirs = {name: array.astype(np.float64) for name, array in found.items() if is_float(array.dtype)}
    tolerance, exact = tolerance_of(written), None
    for name, there in theirs.items():
        apart, scale = _apart(ours[name], there), float(np.abs(there).max(initial=0.0))
        if apart <= tolerance.relative * scale + tolerance.absolute:
            continue
        exact = exact or _run(network.double(), batch)
        if not _apart(there, exact[name]) <= _ROUNDING * _apart(ours[name], exact[name]):
            raise PruneirError(
                f"ONNX Runtime gives '{name}' of the trained network differently than training did: max|a − b| is "
                f"{apart:.1e}, the largest value {scale:.1e}; nothing is written. Please report this network"
            )


@torch.no_grad()  # type: ignore[untyped-decorator]
def _run(network: Network, batch: Batch) -> dict[str, np.ndarray]:
    values = network(Feeder(1, torch.device("cpu")).fed(batch).feeds)
    return {name: value.double().numpy() for name, value in values.items() if value.is_floating_point()}


def _apart(here: np.ndarray, there: np.ndarray) -> float:
    return float(np.abs(here - there).max(initial=0.0)) if here.shape == there.shape else float("inf")


def _same(before: np.ndarray | None, after: np.ndarray | None) -> bool:
    if before is None or after is None or before is after:
        return before is after
    return np.array_equal(before.astype(np.float64), after.astype(np.float64), equal_nan=True)
