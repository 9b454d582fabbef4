"""How far two graphs' outputs are apart.

Per output: the figure max|a − b| / max|b|, with max|b| over all data; its largest value and its mean over the samples
(entries of axis 0). Integers, booleans and strings are equal or not: the figure of a sample is 1 where any entry
differs. Where an output says little, values before it are compared (see `standins`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from math import inf

import numpy as np

from pruneir.graph import Graph
from pruneir.onnx_io.evaluate import Feeds, evaluate
from pruneir.tolerance import Tolerance, is_float, tolerance_of
from pruneir.verify.standins import StandIns

Kept = Mapping[str, Mapping[int, np.ndarray]]
"""Positions that the first graph has of the second's, by value and axis."""

_LOOK_AHEAD = (0, 4, 32, 256)
"""How many operators further upstream each round measures, lest a session be made for every step; the last as often as
it takes.
"""
_NEAR = 1e-6


@dataclass(frozen=True, slots=True)
class Drift:
    """One output's figures.

    name        the graph's output
    at          the values compared: the output itself, or what stands in for it
    largest     max|a − b| / max|b| over the data, the worst of those values
    mean        the same figure's mean over the samples
    difference  max|a − b| of that value
    equal       whether all of them are within the tolerance, or within `rounding`
    rounding    max|a − b| that the last bits of weights alone make; 0 where that was not asked
    """

    name: str
    at: tuple[str, ...]
    largest: float
    mean: float
    difference: float
    equal: bool
    rounding: float = 0.0

    @property
    def magnified(self) -> float:
        """`rounding` as a share of max|b|."""
        return self.rounding * _ratio(self.largest, self.difference)


def compare(a: Graph, b: Graph, feeds: Feeds | Iterable[Feeds], kept: Kept | None = None) -> list[Drift]:
    """What graph `a` makes of the data against what `b` makes of them, output by output of `b`.

    feeds  the inputs of one run, or of several
    kept   lets inner values be compared where `a` has only some of their positions
    """
    batches = [feeds] if isinstance(feeds, Mapping) else list(feeds)
    return _Comparison(a, b, batches, kept or {}).run()


@dataclass(slots=True)
class _Tally:
    """One value in both graphs, batch by batch."""

    differences: list[float] = field(default_factory=list)
    """max|a − b| per sample."""
    scale: float = 0.0
    exact: bool = False
    fits: bool = True
    samples: int = 0
    alike: bool = False
    """Whether all samples are the same one, so that no output can differ between them."""
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Another batch."""
        if a.shape != b.shape:
            self.fits = False
            self.differences.append(inf)
        elif not is_float(b.dtype) or not is_float(a.dtype):
            self.exact = True
            self.scale = 1.0
            self.differences += _per_sample(np.atleast_1d((a != b).astype(np.float64)))
        else:
            a, b = a.astype(np.float64), b.astype(np.float64)
            finite = np.abs(b[np.isfinite(b)])
            self.scale = max(self.scale, float(finite.max(initial=0.0)))
            self.differences += _per_sample(np.atleast_1d(_distance(a, b)))
            self._widen(np.where(np.isfinite(b), b, 0.0))

    def _widen(self, b: np.ndarray) -> None:
        """Note the range of every position over the samples."""
        if not b.size:
            return
        self.samples += len(b) if b.ndim else 1
        low, high = (b.min(axis=0), b.max(axis=0)) if b.ndim else (b, b)
        if self.low is None or self.high is None or self.low.shape != low.shape:
            self.low, self.high = low, high
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    @property
    def difference(self) -> float:
        return max(self.differences, default=0.0)

    @property
    def largest(self) -> float:
        return _ratio(self.difference, self.scale)

    @property
    def mean(self) -> float:
        return _ratio(float(np.mean(self.differences)) if self.differences else 0.0, self.scale)

    @property
    def varies(self) -> bool:
        """Whether some position differs between samples, or from the others where there is but one sample."""
        if self.exact:
            return True
        if self.low is None or self.high is None:
            return False
        spread = self.high - self.low if self.samples > 1 and not self.alike else self.high.max() - self.low.min()
        return bool(np.max(spread) > _NEAR * self.scale)

    def reaches(self, bounds: tuple[float, float]) -> bool:
        """Whether any entry is at a bound where its operator saturates."""
        if self.low is None or self.high is None:
            return False
        return bool(self.low.min() < bounds[0] + _NEAR or self.high.max() > bounds[1] - _NEAR)


class _Comparison:
    def __init__(self, a: Graph, b: Graph, batches: Sequence[Feeds], kept: Kept):
        self.a, self.b, self.batches, self.kept = a, b, batches, kept
        self.stand_ins = StandIns(b)
        self.alike = _alike(batches)
        self.tallies: dict[str, _Tally] = {}

    def run(self) -> list[Drift]:
        outputs = {name: self._in_both(self.stand_ins.before_ranking(name)) or (name,) for name in self.b.outputs}
        at = outputs
        for levels in chain(_LOOK_AHEAD, repeat(_LOOK_AHEAD[-1])):
            self._measure([self._upstream(values, levels) for values in at.values()])
            at = {name: self._settled(values) for name, values in at.items()}
            if all(value in self.tallies for values in at.values() for value in values):
                break
        fits = {name: all(self.tallies[value].fits for value in values) for name, values in at.items()}
        at = {name: values if fits[name] else outputs[name] for name, values in at.items()}
        tolerance = tolerance_of(self.b)
        return [self._drift(name, values, tolerance) for name, values in at.items()]

    def _upstream(self, values: tuple[str, ...], levels: int) -> tuple[str, ...]:
        """The values, and those before them that may have to stand in for them."""
        found = dict.fromkeys(values)
        layer = list(found)
        for level in range(levels + 1):
            doubtful = layer if level < levels else [v for v in layer if self.stand_ins.bounds(v) is not None]
            before = dict.fromkeys(n for value in doubtful for n in self._before(value))
            layer = [name for name in before if name not in found]
            found |= dict.fromkeys(layer)
            if not layer:
                break
        return tuple(found)

    def _settled(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """Step back as long as all is measured and something says nothing."""
        while all(value in self.tallies for value in values):
            stepped = self._step_back(values)
            if stepped == values:
                break
            values = stepped
        return values

    def _measure(self, groups: Iterable[Sequence[str]]) -> None:
        """Tally what is not tallied yet, in one session of each graph, one after the other where a batch is all."""
        names = [name for name in dict.fromkeys(n for group in groups for n in group) if name not in self.tallies]
        if not names:
            return
        self.tallies |= {name: _Tally(alike=self.alike) for name in names}
        ours_first: Iterable[dict[str, np.ndarray]] = evaluate(self.a, names, self.batches)
        if len(self.batches) == 1:
            ours_first = list(ours_first)
        for ours, theirs in zip(ours_first, evaluate(self.b, names, self.batches), strict=True):
            for name in names:
                self.tallies[name].add(ours[name], self._part(name, theirs[name]))

    def _part(self, name: str, array: np.ndarray) -> np.ndarray:
        for axis, positions in self.kept.get(name, {}).items():
            array = array.take(positions, axis=axis)
        return array

    def _step_back(self, values: tuple[str, ...]) -> tuple[str, ...]:
        stepped = [each for name in values for each in ((name,) if self._speaks(name) else self._before(name))]
        return tuple(dict.fromkeys(stepped))

    def _speaks(self, name: str) -> bool:
        tally = self.tallies[name]
        if tally.difference == inf and name in self.b.outputs:
            return True
        bounds = self.stand_ins.bounds(name)
        return tally.fits and tally.varies and not (bounds is not None and tally.reaches(bounds))

    def _before(self, name: str) -> tuple[str, ...]:
        """The nearest values upstream that both graphs have; the value itself if there are none."""
        waiting, found = list(self.stand_ins.upstream(name)), []
        seen = set(waiting)
        while waiting:
            value = waiting.pop(0)
            if self._in_both((value,)):
                found.append(value)
                continue
            fresh = [each for each in self.stand_ins.upstream(value) if each not in seen]
            seen |= set(fresh)
            waiting += fresh
        return tuple(found) or (name,)

    def _in_both(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The values, if both graphs have all of them."""
        return names if all(n in self.a.network and n in self.b.network for n in names) else ()

    def _drift(self, name: str, values: tuple[str, ...], tolerance: Tolerance) -> Drift:
        tallies = [self.tallies[value] for value in values]
        worst = max(tallies, key=lambda tally: tally.largest)
        equal = all(self._equal(value, tolerance) for value in values)
        return Drift(name, values, worst.largest, max(t.mean for t in tallies), worst.difference, equal)

    def _equal(self, value: str, tolerance: Tolerance) -> bool:
        tally = self.tallies[value]
        if tally.exact or value not in self.stand_ins.varying:
            return tally.difference == 0 or tolerance.allows(tally.difference, 0 if tally.exact else tally.scale)
        return tolerance.allows(tally.difference, tally.scale)


def _alike(batches: Sequence[Feeds]) -> bool:
    """Whether every sample of every input equals the first."""
    first = {name: array[:1] for name, array in batches[0].items() if array.ndim} if batches else {}
    return all(bool((batch[name] == sample).all()) for batch in batches for name, sample in first.items())


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a − b|; zero between equal infinities, infinite where either is not a number."""
    with np.errstate(invalid="ignore"):
        distance = np.where(a == b, 0.0, np.abs(a - b))
    return np.where(np.isnan(distance), inf, distance)


def _per_sample(entries: np.ndarray) -> list[float]:
    rows = entries.reshape(len(entries), -1) if entries.size else entries.reshape(0, 1)
    return [float(row) for row in rows.max(axis=1)]


def _ratio(difference: float, scale: float) -> float:
    if scale > 0:
        return difference / scale
    return inf if difference else 0.0
