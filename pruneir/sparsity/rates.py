"""Shares by layer: as an option says them, or the smallest that the network bears."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from pruneir.data import Data
from pruneir.detection.anchors import Anchors
from pruneir.errors import PruneirError
from pruneir.folding.edit import remove_dead
from pruneir.graph import Graph
from pruneir.names import is_called, require_matches
from pruneir.onnx_io import evaluate
from pruneir.progress import Progress, silent
from pruneir.score import score
from pruneir.sparsity.sites import Site
from pruneir.sparsity.winners import Winners, put, put_static, stride, winners

Given = tuple[float | str, ...]
"""An option: a share for all, `GLOB=share` for some; a later entry goes before an earlier."""
AUTO = "auto"
SAMPLED = 256
"""Fewer elements say little about where the largest of a layer begin."""
_RATES = (0.01, 0.02, 0.03, 0.05, 0.07, *(step / 20 for step in range(2, 21)))
"""Winner rates that a scan tries."""
_BATCH = 16
_ROUNDING = 1e-9
"""Points: 99.9 − 99.6 is more than 0.3 in binary."""


class Shares:
    """An option's shares, of 0 (not included) to 1, or `auto`."""

    def __init__(self, option: str, given: Given, *, auto: bool = False):
        self.option = option
        self._entries = [self._entry(each, auto) for each in given]

    def of(self, names: Iterable[str]) -> float | None:
        """The share of a layer that goes by these names; None is auto. What nothing is said of keeps all."""
        found: float | None = 1.0
        known = list(names)
        for glob, share in self._entries:
            if is_called(known, [glob]):
                found = share
        return found

    def require_matches(self, names: Iterable[str]) -> None:
        """PruneirError for a glob that matches none of the names."""
        require_matches(self.option, [glob for glob, _ in self._entries if glob != "*"], names)

    def _entry(self, each: float | str, auto: bool) -> tuple[str, float | None]:
        glob, equals, text = each.rpartition("=") if isinstance(each, str) else ("", "", str(each))
        named = bool(glob) or not equals
        if auto and text == AUTO and named:
            return glob or "*", None
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not (named and 0 < share <= 1):
            wanted = "a share above 0, up to 1" + (", or auto" if auto else "")
            raise PruneirError(f"{self.option}: '{each}' is not {wanted}; of one layer it is GLOB=SHARE")
        return glob or "*", share


def with_winners(
    graph: Graph, rates: Mapping[Site, float], sample: float = 1.0, at_least: int = SAMPLED
) -> tuple[Graph, dict[Site, Winners]]:
    """A graph of its own whose layers read the winners alone, and the masks. Masks that these layers had go.

    sample    share of the elements among which a threshold is chosen
    at_least  how many these are; where there are fewer, all
    """
    result, made = graph.copy(), {}
    had = bool(winners(graph))
    for site, rate in rates.items():
        share = sample if site.size is None else min(1.0, max(sample, at_least / site.size))
        step = stride(share, site.shape[-1])
        rank, dtype = len(site.shape), np.dtype(tensor_dtype_to_np_dtype(site.elem_type))
        made[site] = put(result, site.value, site.readers, rate, dtype=dtype, rank=rank, size=site.size, step=step)
    if had:
        remove_dead(result)
    return result, made


def with_static(graph: Graph, rates: Mapping[Site, float], data: Data) -> tuple[Graph, dict[Site, Winners]]:
    """The same with constants for thresholds: the mean over data of those that samples have."""
    dynamic, masks = with_winners(graph, rates)
    names = [mask.threshold for mask in masks.values()]
    sums, samples = np.zeros(len(names)), 0
    for values in evaluate(dynamic, names, (batch.feeds for batch in data.batches(_BATCH))):
        sums += [values[name].sum(dtype=np.float64) for name in names]
        samples += len(values[names[0]]) if names else 0
    result, made = graph.copy(), {}
    had = bool(winners(graph))
    for site, total in zip(rates, sums, strict=True):
        dtype = np.dtype(tensor_dtype_to_np_dtype(site.elem_type))
        made[site] = put_static(result, site.value, site.readers, float(total / samples), dtype=dtype)
    if had:
        remove_dead(result)
    return result, made


def smallest_rates(
    graph: Graph,
    scanned: Sequence[Site],
    data: Data,
    drop: float,
    sample: float = 1.0,
    progress: Progress = silent,
    *,
    anchors: Anchors | None = None,
) -> dict[Site, float]:
    """The smallest winner rates at which the network loses at most `drop` points on the data, value after value.

    Each has an equal part of `drop`, and what those before it left of theirs; their masks are there already. Without
    labels, points are of what the network does without masks. A smaller rate is taken to lose more. A detector's
    `anchors` are those that the graph holds if none are given.
    """
    base = score(graph, data, graph, anchors=anchors).points
    found: dict[Site, float] = {}
    for index, site in enumerate(scanned):
        progress(f"winner rate of {site.layer}", index / len(scanned))

        def bears(rate: float, site: Site = site, allowed: float = drop * (index + 1) / len(scanned)) -> bool:
            masked, _ = with_winners(graph, {**found, site: rate}, sample)
            return base - score(masked, data, graph, anchors=anchors).points <= allowed + _ROUNDING

        found[site] = _RATES[bisect_left(_RATES[:-1], True, key=bears)]
    return found
