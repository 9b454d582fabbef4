"""Weights by their magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import ClassVar, Literal

import numpy as np

from pruneir.conflicts import Exclusive
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context
from pruneir.sparsity import Masks, Sparse, Weight
from pruneir.sparsity.thresholds import by_quality, common_quality, largest, of_pattern, pattern_of


@dataclass(frozen=True)
class Magnitude(Sparse):
    """Set small weights to zero (Han et al., NIPS 2015; Han, PhD thesis, Stanford 2017, chapter 3).

    sparsity   share of the weights that shall be zero, 0–1
    of         all: of all weights, zeros included; left: of those that are not zero yet, for rounds
    scope      global: one q for all layers, the one that gives this sparsity; local: the same share of every layer
    quality    instead of sparsity: q, so that |w| < q·σ goes, σ the standard deviation of what a layer has left
    qualities  q of what globs of tensors and nodes match, `"conv1=0.5"`, whatever the others get
    pattern    instead of all these: `2:4` keeps the 2 largest of every 4 weights that follow on the input axis, of a
               shorter rest 2 at most

    `[pass.ratios]` and `--ratio GLOB=0.9` are shares of zeros in what matches, and go before all of these. Weights are
    the matrices and kernels of Conv, ConvTranspose, Gemm and MatMul; the largest of each stays.

    `train` leaves zeros zero (`keep_zeros`), so that `magnitude` and `train` in turn, with a sparsity that rises or in
    rounds with `of=left`, prune and retrain iteratively; `dead-neurons` then removes the neurons that are cut off.
    Example: `--pass 'magnitude{sparsity=0.9}' --pass 'train{epochs=5}' --data train.npz`.
    """

    name = "magnitude"
    exclusive: ClassVar[Exclusive] = (
        *((shared, other) for other in ("quality", "pattern") for shared in ("sparsity", "of", "scope")),
        ("quality", "pattern"),
        ("qualities", "pattern"),
    )
    sparsity: float = 0.5
    of: Literal["all", "left"] = "all"
    scope: Literal["global", "local"] = "global"
    quality: float | None = None
    qualities: tuple[str, ...] = ()
    pattern: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise PruneirError(f"pass magnitude: sparsity={self.sparsity:g} is not a share from 0 to less than 1")
        if self.quality is not None and not 0 <= self.quality < float("inf"):
            raise PruneirError(f"pass magnitude: quality={self.quality:g} is not a number from 0 up")
        if self.pattern is not None:
            pattern_of(self.pattern)
        self._by_glob()
        super().__post_init__()

    def masks(self, graph: Graph, chosen: Sequence[Weight], context: Context) -> Masks:
        """What is large enough to stay."""
        if self.pattern is not None:
            few, of = pattern_of(self.pattern)
            masks = {weight.name: of_pattern(weight, few, of) for weight in chosen}
        else:
            masks = self._by_thresholds(chosen)
        for glob, share in context.ratios.items():
            masks |= {weight.name: largest(weight, share) for weight in chosen if weight.is_called([glob])}
        return masks

    def _by_thresholds(self, chosen: Sequence[Weight]) -> dict[str, np.ndarray]:
        masks: dict[str, np.ndarray] = {}
        for glob, quality in self._by_glob().items():
            found = [weight for weight in chosen if weight.is_called([glob])]
            if not found:
                raise PruneirError(f"pass magnitude: qualities: no weight is called '{glob}'; see `pruneir inspect`")
            masks |= {weight.name: by_quality(weight, quality) for weight in found}
        free = [weight for weight in chosen if weight.name not in masks]
        if self.quality is None and self.scope == "local":
            return masks | {weight.name: largest(weight, self._share(weight)) for weight in free}
        common = self.quality
        if common is None and free:
            wanted = floor(sum(self._share(weight) * weight.array.size for weight in chosen) + 1e-6)
            zeros = sum(
                int((weight.array * masks[weight.name] == 0).sum()) for weight in chosen if weight.name in masks
            )
            common = common_quality(free, max(wanted - zeros, 0))
        return masks | {weight.name: by_quality(weight, common or 0.0) for weight in free}

    def _share(self, weight: Weight) -> float:
        """The share of a weight's entries that shall be zero, were it alone."""
        if self.of == "all":
            return self.sparsity
        return 1 - (1 - self.sparsity) * weight.nonzero / weight.array.size

    def _by_glob(self) -> dict[str, float]:
        found = {}
        for text in self.qualities:
            glob, _, value = text.rpartition("=")
            try:
                quality = float(value)
            except ValueError:
                quality = -1.0
            if not glob or not 0 <= quality < float("inf"):
                raise PruneirError(f"pass magnitude: qualities takes GLOB=Q, such as 'conv1=0.5', not '{text}'")
            found[glob] = quality
        return found
