"""The verdict on a pass: the figures, and whether they are within the tolerance.

kind     compared with                                     passes if
equal    the network before a lossless pass                every output is equal
masked   the uncut network, removed slices set to zero     every output is equal
held     the uncut network, removed channels held at r     every output is equal
drift    the original network                              every figure is a number
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal

from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import Feeds
from pruneir.tolerance import tolerance_of
from pruneir.verify.drift import Drift, Kept, compare
from pruneir.verify.rounding import with_rounding

Kind = Literal["equal", "masked", "held", "drift"]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and how it came out.

    worst, mean   largest figure max|a − b| / max|b| of all outputs, and the largest of their means
    tolerance     what `worst` may be, besides a floor for tiny values; infinite for drift
    An output may be further off where the network magnifies rounding: see `rounding`.
    """

    kind: Kind
    ok: bool
    worst: float
    mean: float
    tolerance: float
    outputs: tuple[Drift, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data; what is not a finite number is null."""
        return {
            "kind": self.kind,
            "ok": self.ok,
            "worst": _number(self.worst),
            "mean": _number(self.mean),
            "tolerance": _number(self.tolerance),
            "outputs": [
                {
                    "name": drift.name,
                    "compared": list(drift.at),
                    "largest": _number(drift.largest),
                    "mean": _number(drift.mean),
                    "difference": _number(drift.difference),
                    "equal": drift.equal,
                    "rounding": _number(drift.rounding),
                }
                for drift in self.outputs
            ],
        }


def verify(
    before: Graph, after: Graph, feeds: Feeds | Iterable[Feeds], kind: Kind = "equal", kept: Kept | None = None
) -> Verification:
    """Run two graphs on the same inputs.

    before  the network that `after` must equal, or for `drift` the one that it came from
    kept    positions of inner values that `after` has left, for outputs that say nothing themselves
    """
    batches = [feeds] if isinstance(feeds, Mapping) else list(feeds)
    outputs = tuple(compare(after, before, batches, kept))
    worst = max((drift.largest for drift in outputs), default=0.0)
    mean = max((drift.mean for drift in outputs), default=0.0)
    if kind == "drift":
        return Verification(kind, isfinite(worst), worst, mean, inf, outputs)
    outputs = with_rounding(outputs, before, batches)
    equal = all(drift.equal for drift in outputs)
    return Verification(kind, equal, worst, mean, tolerance_of(before).relative, outputs)


def _number(figure: float) -> float | None:
    return figure if isfinite(figure) else None
