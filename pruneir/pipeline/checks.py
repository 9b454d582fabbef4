"""Holding passes to their word on the same samples: the first of the data, or random inputs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pruneir.data import Data, Feeds
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.passes import Pass, Result

if TYPE_CHECKING:
    from pruneir.verify import Kind, Verification

_FEW = 32
"""Samples that equality is checked on."""
_MANY = 1024
_BYTES = 256 << 20
"""Samples that drift is measured on: so many, or as many as are so large."""


class Checker:
    """Checks passes, and measures drift, on data or random inputs of a seed."""

    def __init__(self, data: Data | None, seed: int):
        self.data, self.seed = data, seed

    @cached_property
    def source(self) -> str:
        """What drift is measured on, in words."""
        if self.data is None:
            return f"random inputs, seed {self.seed}"
        known, limit = self.data.count, self._many
        count = min(known, limit) if known is not None else sum(b.count for b in self.data.batches(limit=limit))
        return f"{count:,} sample{'s' * (count != 1)}"

    def check(self, what: Pass, before: Graph, result: Result) -> Verification | None:
        """What a pass made, against what it must equal; None if it changed nothing, or promises nothing."""
        if result.cutting:
            return self._worst(what, result)
        if _same(before, result.graph) or (what.lossy and result.reference is None):
            return None
        from pruneir.verify import verify  # noqa: PLC0415 - ONNX Runtime is slow to import

        feeds = self._feeds(before, _FEW)
        kept = result.kept() if result.kept else None
        if result.reference is None:
            found = verify(before, result.graph, feeds, kept=kept)
            return found if self.data is not None or not found.ok else self._at_odd_sizes(before, result.graph) or found
        return verify(result.reference(), result.graph, feeds, result.kind, kept)

    def _worst(self, what: Pass, result: Result) -> Verification | None:
        """The verdict on the cuts of a pass that went on training: the first refusal, or the one with most error."""
        found = [check for before, cut in result.cutting if (check := self.check(what, before, cut)) is not None]
        return min(found, key=lambda check: (check.ok, -check.worst), default=None)

    def _at_odd_sizes(self, before: Graph, after: Graph) -> Verification | None:
        """The verdict where symbols but the batch have odd sizes, if it is a refusal: rounding tells only there."""
        from pruneir.onnx_io import evaluate  # noqa: PLC0415
        from pruneir.verify import odd_feeds, verify  # noqa: PLC0415

        for feeds in odd_feeds(before, seed=self.seed):
            try:
                list(evaluate(before, before.outputs, [feeds]))
            except PruneirError:  # shapes fit, yet the network does not run there
                continue
            found = verify(before, after, feeds)
            return None if found.ok else found
        return None

    def drift(self, original: Graph, final: Graph) -> Verification:
        """The final outputs against the original's."""
        return self.compare(original, final, "drift")

    def compare(self, before: Graph, after: Graph, kind: Kind) -> Verification:
        """Two networks on many samples."""
        from pruneir.verify import verify  # noqa: PLC0415

        return verify(before, after, self._feeds(before, self._many), kind)

    @cached_property
    def _many(self) -> int:
        """Samples that drift is measured on, at most."""
        one = self.data.feeds(1) if self.data is not None else {}
        nbytes = sum(array.nbytes / max(len(array), 1) for array in one.values())
        return max(_FEW, min(_MANY, int(_BYTES / max(nbytes, 1))))

    def _feeds(self, graph: Graph, limit: int) -> list[Feeds]:
        from pruneir.verify import random_feeds  # noqa: PLC0415

        if self.data is None:
            return [random_feeds(graph, seed=self.seed)]
        return [batch.feeds for batch in self.data.batches(limit=limit)]


def _same(a: Graph, b: Graph) -> bool:
    """Whether two graphs are made of the very same operators and arrays."""
    if a is b:
        return True
    one, other = a.operators, b.operators
    if len(one) != len(other) or a.initializers.keys() != b.initializers.keys():
        return False
    same_operators = all(x is y for x, y in zip(one, other, strict=True))
    return same_operators and all(b.initializers[name] is array for name, array in a.initializers.items())
