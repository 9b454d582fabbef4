"""What a score owes to each layer's weights: one layer is pruned at a time (Han et al., NIPS 2015, fig. 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.progress import Progress, silent
from pruneir.score import Score, score
from pruneir.sparsity.thresholds import by_quality, largest
from pruneir.sparsity.weights import Weight, masked, weights

if TYPE_CHECKING:
    from pruneir.data import Data
    from pruneir.detection.anchors import Anchors

By = Literal["quality", "sparsity"]
QUALITIES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
SPARSITIES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Point:
    """A layer pruned to one value: the share of its weights that is left, and the network's score then."""

    value: float
    kept: float
    points: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One layer: its weight, and a point for each value in the order asked."""

    name: str
    layer: str
    weights: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """A scan.

    by     what the values are: quality, q of |w| < q·σ; sparsity, the share of zeros
    whole  the score of the network as it is
    """

    by: By
    whole: Score
    curves: tuple[Curve, ...]

    def within(self, drop: float) -> dict[str, float]:
        """By weight, the largest value up to which no smaller one costs more than `drop` points; 0 if none is."""
        found = {}
        for curve in self.curves:
            allowed = 0.0
            for point in sorted(curve.points, key=lambda each: each.value):
                if self.whole.points - point.points > drop:
                    break
                allowed = point.value
            found[curve.name] = allowed
        return found


def sensitivity(
    graph: Graph,
    data: Data,
    by: By = "quality",
    values: Sequence[float] = (),
    *,
    only: Sequence[str] = (),
    anchors: Anchors | None = None,
    progress: Progress = silent,
) -> Sensitivity:
    """Prune each weight alone to each value, and score the network.

    data    samples to score on: by accuracy or mAP where they have labels, else by agreement with the network as it is
    values  q, or shares; a few from mild to severe if not given
    only    globs of tensors and nodes
    anchors  of a detector; default: those that the graph holds
    """
    chosen = [weight for weight in weights(graph) if not only or weight.is_called(only)]
    if not chosen:
        raise PruneirError(
            "sensitivity: " + (f"no weight is called {', '.join(only)}" if only else "there is no weight")
        )
    values = tuple(values) or (QUALITIES if by == "quality" else SPARSITIES)
    if any(not 0 <= value < (1 if by == "sparsity" else float("inf")) for value in values):
        raise PruneirError(
            f"sensitivity: values of {by} are " + ("shares below 1" if by == "sparsity" else "from 0 up")
        )

    def scored(network: Graph) -> Score:
        return score(network, data, graph, anchors=anchors)

    whole, curves = scored(graph), []
    for number, weight in enumerate(chosen):
        progress(weight.layer, number / len(chosen))
        found = tuple(_point(graph, weight, by, value, scored) for value in values)
        curves.append(Curve(weight.name, weight.layer, weight.array.size, found))
    return Sensitivity(by, whole, tuple(curves))


def _point(graph: Graph, weight: Weight, by: By, value: float, scored: Callable[[Graph], Score]) -> Point:
    mask = by_quality(weight, value) if by == "quality" else largest(weight, value)
    pruned = masked(graph, {weight.name: mask})
    left = int((weight.array[mask] != 0).sum()) / weight.array.size
    return Point(value, left, scored(pruned).points)
