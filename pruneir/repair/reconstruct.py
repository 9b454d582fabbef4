"""Repair from data: each operator downstream of a cut is fitted to what it computed in the uncut network, in order.

The uncut network runs once, for the outputs that are aimed at (`samples`); the pruned one once, stop by stop
(`frontier`), so that each fit sees inputs that are repaired already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pruneir.calibrate.linear import Matrix, matrix_of
from pruneir.constants import add_to_outputs
from pruneir.data import Data
from pruneir.graph import Graph, Operator
from pruneir.pipeline.passes import Uncut
from pruneir.progress import Progress
from pruneir.repair.frontier import Frontier
from pruneir.repair.offsets import Offsets
from pruneir.repair.refit import Use, choose
from pruneir.repair.regression import Grams, Stacks
from pruneir.repair.samples import Spread, Targets, batch_size
from pruneir.repair.sites import Site, Sites, find_sites
from pruneir.repair.store import Store

Reconstruct = Literal["least-squares", "optimal-brain", "none"]

_ELEMENTS = 2**25
"""Numbers of one operator's sampled inputs that are used at most."""
_ROUNDING = 1e-9
"""Share of an output's variance that is not worth a fit."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is repaired, and how.

    means        output means
    reconstruct  weights
    batchnorm    running statistics
    damping      of the regression, a share of its mean diagonal; None: chosen per operator on samples held out
    positions    output positions a sample that a regression sees
    """

    means: bool = True
    reconstruct: Reconstruct = "least-squares"
    batchnorm: bool = True
    damping: float | None = None
    positions: int = 64


@dataclass(slots=True)
class Repaired:
    """What was done.

    changed  initializers whose values changed
    before, after   shares of the variance of each operator's target that it missed, on samples held out
    refitted  operators with a new weight
    kept      operators that a refit would have made worse, on samples held out
    shifted   operators whose mean was restored
    norms     BatchNormalizations with new statistics
    """

    changed: set[str] = field(default_factory=set)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    refitted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    shifted: int = 0
    norms: int = 0


def repair_from_data(
    graph: Graph, uncut: Uncut, data: Data, options: Options, seed: int, progress: Progress
) -> tuple[Repaired, Sites]:
    """Repair a graph in place."""
    found = find_sites(graph, uncut)
    linear = options.means or options.reconstruct != "none"
    sites = [site for site in found.sites if (linear if site.is_linear else options.batchnorm)]
    if not sites:
        return Repaired(), found
    with Store() as store:
        return _Repair(graph, uncut, data, options, seed, progress, sites, store).run(), found


class _Repair:
    def __init__(
        self,
        graph: Graph,
        uncut: Uncut,
        data: Data,
        options: Options,
        seed: int,
        progress: Progress,
        sites: list[Site],
        store: Store,
    ):
        self.graph, self.uncut, self.data, self.options, self.progress = graph, uncut.graph, data, options, progress
        self.sites, self.store = sites, store
        self.kept = uncut.kept()
        self.done = Repaired()
        self.targets = Targets(store, seed)
        self.by_value = {site.value: site for site in sites}
        self.offsets = Offsets(graph, uncut)
        self.uncut_uses: dict[str, Use] = {}
        """Rows of the uncut network's inputs, for the optimal-brain form."""
        self.refitted: set[str] = set()
        """Weights that had their turn."""

    def run(self) -> Repaired:
        """One pass over the uncut network, one over the pruned one."""
        names = [site.target for site in self.sites]
        linear = [site for site in self.sites if site.is_linear]
        if self.options.reconstruct == "optimal-brain":
            self.uncut_uses = {each.value: self._use(each, self._matrix(each)) for each in linear if not each.alone}
            names += [each.source for each in linear if each.value in self.uncut_uses]
        size = batch_size(self.uncut, self.data, names)
        self.targets.collect(
            self.uncut,
            self.data,
            size,
            self.sites,
            {site.value: self._limit(site) for site in linear},
            names,
            self._seen,
            lambda share: self.progress("running the uncut network", share / 2),
        )
        frontier = Frontier(self.graph, self.data, size, [[site.source] for site in self.sites], self.store)
        for stop, site in enumerate(self.sites):
            self.progress(f"repairing '{self._operator(site).label}'", 0.5 + 0.5 * stop / len(self.sites))
            if site.is_linear:
                self._linear(site, frontier, stop)
                self.targets.drop(site)
            else:
                self._norm(site, frontier, stop)
        return self.done

    # Linear operators

    def _limit(self, site: Site) -> int:
        """Rows a sample."""
        matrix = self._matrix(site)
        features = matrix.features * matrix.groups
        return int(np.clip(_ELEMENTS // (features * len(self.data)), 1, self.options.positions))

    def _operator(self, site: Site) -> Operator:
        found = self.graph.producer(site.value)
        assert found is not None
        return found

    def _matrix(self, site: Site) -> Matrix:
        found = matrix_of(self.graph, self._operator(site))
        assert isinstance(found, Matrix)
        return found

    def _linear(self, site: Site, frontier: Frontier, stop: int) -> None:
        """Fit one operator; together with it, at the first of them, all that read its weight."""
        matrix = self._matrix(site)
        name = self._operator(site).inputs[1]
        refit = self.options.reconstruct != "none" and not site.alone and name not in self.refitted
        use = self._use(site, matrix)
        for index, values in enumerate(frontier.advance(stop)):
            self._add(site, matrix, index, values[site.source], use)
        uses, sources = [use], None
        if refit:
            self.refitted.add(name)
            others = [self.by_value[value] for value in site.tied if value != site.value]
            uses += self._ahead(others, frontier) if others else []
            if self.options.reconstruct == "optimal-brain":
                sources = [self.uncut_uses[each.value] for each in (site, *others)]
        weight = self.graph.constant(name)
        assert weight is not None
        present, damping = matrix.of(weight), self.options.damping
        made = choose(uses, present, means=self.options.means, refit=refit, damping=damping, sources=sources)
        self.done.before.append(made.before)
        self.done.after.append(made.after)
        if made.matrix is not None:
            self.done.changed.add(self.graph.define(name, matrix.weight(made.matrix).astype(weight.dtype)))
            self.done.refitted.append(self._operator(site).label)
        elif refit and made.before > _ROUNDING:
            self.done.kept.append(self._operator(site).label)
        if made.intercepts is not None:
            amount = (made.intercepts[0] - use.intercept).reshape(-1)
            self.done.changed.add(add_to_outputs(self.graph, self._operator(site), amount))
            self.done.shifted += 1

    def _use(self, site: Site, matrix: Matrix) -> Use:
        kind = Grams if matrix.features <= self._limit(site) * len(self.data) else Stacks
        return Use(kind(), kind(), self.offsets.of(site).reshape(matrix.groups, -1))

    def _ahead(self, others: list[Site], frontier: Frontier) -> list[Use]:
        """The rows of operators further on, from the network as it is now."""
        uses = [self._use(each, self._matrix(each)) for each in others]
        for index, values in enumerate(frontier.peek([each.source for each in others])):
            for each, use in zip(others, uses, strict=True):
                self._add(each, self._matrix(each), index, values[each.source], use)
        return uses

    def _add(self, site: Site, matrix: Matrix, index: int, source: np.ndarray, use: Use) -> None:
        """A batch's rows to those that are fitted and those that are held out."""
        sampled = self.targets.sampled[site.value][index]
        x = matrix.rows(source, sampled.rows)
        y = self.targets.target(site, index).reshape(len(sampled.held), matrix.groups, -1).transpose(1, 0, 2)
        for sums, chosen in ((use.fit, ~sampled.held), (use.held, sampled.held)):
            sums.add(x[:, chosen], y[:, chosen])

    def _seen(self, index: int, values: dict[str, np.ndarray]) -> None:
        """For the optimal-brain form: rows of the uncut network's inputs, of the channels that are left."""
        for site in self.sites:
            if site.value in self.uncut_uses:
                source = values[site.source]
                for axis, positions in self.kept.get(site.source, {}).items():
                    source = source.take(positions, axis=axis)
                self._add(site, self._matrix(site), index, source, self.uncut_uses[site.value])

    # BatchNormalizations

    def _norm(self, site: Site, frontier: Frontier, stop: int) -> None:
        """Let the output have the mean and the variance that the uncut network's has on the same data."""
        spread = Spread()
        for count, values in zip(frontier.counts, frontier.advance(stop), strict=True):
            spread.add(values[site.source], count)
        norm, before = self._operator(site), self.uncut.producer(site.value)
        mean, variance = spread.mean, spread.variance
        epsilon = norm.attribute("epsilon", 1e-5)
        target = self.targets.spreads[site.value]
        statistics = [self.uncut.constant(name) for name in before.inputs[3:5]] if before is not None else []
        if before is not None and before.is_a("BatchNormalization") and all(s is not None for s in statistics):
            was, var = (np.asarray(s, np.float64)[site.kept] for s in statistics)
            ratio = (variance + epsilon) / (target.variance + epsilon)
            mean = mean - (target.mean - was) * np.sqrt(ratio)
            variance = np.maximum((var + epsilon) * ratio - epsilon, 0)
        for slot, array in ((3, mean), (4, variance)):
            present = self.graph.constant(norm.inputs[slot])
            assert present is not None
            self.done.changed.add(self.graph.define_for(norm, slot, array.astype(present.dtype)))
        self.done.norms += 1
