"""Whether an artifact computes what its network does in ONNX Runtime.

Per output, over all samples: max|a − b|, and the same relative to max|b|. It passes when max|a − b| ≤ 1e-4·max|b| +
1e-6; integers must be equal. An output that is zero everywhere says nothing, and does not pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

import numpy as np

from pruneir.artifact import Artifact
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import evaluate
from pruneir.tolerance import Tolerance, is_float

Array = np.ndarray[Any, Any]

TOLERANCE = Tolerance(1e-4, 1e-6)


@dataclass(frozen=True, slots=True)
class OutputError:
    """One output's figures.

    max_abs   max|a − b|; infinite where they cannot be compared
    relative  that by max|b|
    scale     max|b|
    """

    name: str
    max_abs: float
    relative: float
    scale: float
    ok: bool


@dataclass(frozen=True, slots=True)
class Parity:
    """All outputs, on so many samples of `source`."""

    outputs: tuple[OutputError, ...]
    samples: int
    source: str

    @property
    def ok(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output.ok for output in self.outputs)

    @property
    def max_abs(self) -> float:
        """The largest difference."""
        return max((output.max_abs for output in self.outputs), default=0.0)

    @property
    def relative(self) -> float:
        """The largest relative difference."""
        return max((output.relative for output in self.outputs), default=0.0)

    def document(self) -> dict[str, Any]:
        """The same as JSON; null for what is infinite."""
        outputs = [{key: None if value == inf else value for key, value in asdict(o).items()} for o in self.outputs]
        return {
            "against": "onnxruntime",
            "ok": self.ok,
            "on": self.source,
            "samples": self.samples,
            "tolerance": asdict(TOLERANCE),
            "outputs": outputs,
        }


def parity(artifact: Artifact, graph: Graph, batches: Sequence[Mapping[str, Array]], source: str) -> Parity:
    """Run both on the same inputs.

    graph    the network as it was before it was compiled, with the artifact's inputs and outputs
    batches  arrays by input, one entry a run
    source   what messages call them
    """
    require_same_interface(artifact, graph)
    ours = artifact.run_all([artifact.fitted(feeds) for feeds in batches])
    errors = _compared(graph.outputs, zip(ours, evaluate(graph, graph.outputs, batches), strict=True))
    return Parity(errors, len(batches), source)


def require_same_interface(artifact: Artifact, graph: Graph) -> None:
    """PruneirError if the artifact was compiled from another network."""
    ports = [[port.name for port in ports] for ports in (artifact.manifest.inputs, artifact.manifest.outputs)]
    if [sorted(names) for names in ports] != [sorted(graph.data_inputs), sorted(graph.outputs)]:
        shown = " → ".join(", ".join(names) for names in ports)
        theirs = f"{', '.join(graph.data_inputs)} → {', '.join(graph.outputs)}"
        raise PruneirError(f"{artifact.folder}: computes {shown}, but the network {theirs}: it was made from another")


def _compared(
    names: Iterable[str], runs: Iterable[tuple[Mapping[str, Array], Mapping[str, Array]]]
) -> tuple[OutputError, ...]:
    names = list(names)
    difference, scale = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    exact: set[str] = set()
    for ours, theirs in runs:
        for name in names:
            a, b = np.asarray(ours[name]), np.asarray(theirs[name])
            if not is_float(b.dtype):
                exact.add(name)
            difference[name] = max(difference[name], _difference(a, b))
            scale[name] = max(scale[name], float(np.abs(b.astype(np.float64)).max(initial=0.0)))
    return tuple(
        OutputError(name, difference[name], _relative(difference[name], scale[name]), scale[name], ok)
        for name in names
        for ok in [difference[name] == 0 if name in exact else TOLERANCE.allows(difference[name], scale[name])]
    )


def _difference(a: Array, b: Array) -> float:
    """max|a − b|; infinite where shapes differ, or one is NaN or infinite and the other is not the same."""
    if a.shape != b.shape:
        return inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.nan_to_num(apart, nan=inf).max(initial=0.0))


def _relative(difference: float, scale: float) -> float:
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else inf
