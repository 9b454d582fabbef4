"""Data-free repair: what is left of a network's channels stands in for those that went, as far as they are alike.

A removed channel p is predicted from the kept ones k of the same value,

    x_p ≈ r_p + Σ_k s_pk·(x_k − r_k),    s = C_pk·(C_kk + λI)⁻¹,

with the means r and the covariance C estimated from the weights (`covariance`). Its consumers' columns go where they
are predicted from, W_k += Σ_p W_p·s_pk, and the constants into the bias. With one k for each p this is Neuron Merging
(Kim et al., NeurIPS 2020), where s is the cosine of two filters times the ratio of their norms. Sparse
layers are left as they are: merging would fill them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pruneir.calibrate.linear import Matrix, matrix_of
from pruneir.constants import add_to_outputs, estimate
from pruneir.coupling import couple
from pruneir.graph import Graph
from pruneir.pipeline.passes import Uncut
from pruneir.repair.covariance import Correlations
from pruneir.repair.offsets import Offsets
from pruneir.repair.sites import Site, Sites, find_sites

DAMPING = 0.03
"""λ, as a share of the mean variance of the kept channels."""
_SPARSE = 0.1
"""Share of zeros from which on a weight is sparse by intent."""


@dataclass(slots=True)
class Merged:
    """What was done.

    changed    initializers whose values changed
    operators  whose weights took over for removed inputs
    explained  share of the variance of removed channels that the kept ones predict, one for each operator
    """

    changed: set[str] = field(default_factory=set)
    operators: list[str] = field(default_factory=list)
    explained: list[float] = field(default_factory=list)


def merge(graph: Graph, uncut: Uncut, damping: float = DAMPING) -> tuple[Merged, Sites]:
    """Merge removed channels into kept ones, in a graph that is changed in place."""
    found = find_sites(graph, uncut)
    coupling = couple(uncut.graph)
    moments = estimate(coupling)
    merging = _Merging(graph, uncut, Correlations(coupling, moments), Offsets(graph, uncut), damping)
    for site in found.sites:
        if site.is_linear and not site.alone and len(site.tied) == 1:
            if merging.is_sparse(site):
                found.left["its weights are sparse, and merging would fill them; give --data"].append(site.value)
            else:
                merging.merge(site)
    return merging.done, found


@dataclass(slots=True)
class _Merging:
    graph: Graph
    uncut: Uncut
    correlations: Correlations
    offsets: Offsets
    damping: float
    done: Merged = field(default_factory=Merged)

    def is_sparse(self, site: Site) -> bool:
        """Whether so many weights of an operator are zero that they were set to it."""
        operator = self.graph.producer(site.value)
        weight = self.graph.constant(operator.inputs[1]) if operator is not None else None
        return weight is not None and float((weight == 0).mean()) >= _SPARSE

    def merge(self, site: Site) -> None:
        """Let one operator's kept inputs stand in for those it lost."""
        now, before = self.graph.producer(site.value), self.uncut.graph.producer(site.value)
        if now is None or before is None or before.type != now.type:
            return
        matrix, whole = matrix_of(self.graph, now), matrix_of(self.uncut.graph, before)
        covariance = self.correlations.covariance(site.source)
        moments = self.correlations.moments.get(site.source)
        lost = self.uncut.kept().get(site.source, {})
        if not isinstance(matrix, Matrix) or not isinstance(whole, Matrix):
            return
        if whole.groups > 1 or now.is_a("ConvTranspose"):
            return
        if covariance is None or moments is None or list(lost) != [moments.axis]:
            return
        weight, present = self.uncut.graph.constant(before.inputs[1]), self.graph.constant(now.inputs[1])
        assert weight is not None
        assert present is not None
        kept = lost[moments.axis]
        gone = np.setdiff1d(np.arange(len(covariance)), kept)
        columns = whole.of(weight)[0][site.kept].reshape(len(site.kept), len(covariance), -1)
        if matrix.of(present).size != columns[:, kept].size:
            return
        mix = self._prediction(covariance, kept, gone)
        added = np.einsum("opt,pk->okt", columns[:, gone], mix)
        total = columns.sum(axis=2)
        constant = total[:, gone] @ (moments.mean[gone] - mix @ moments.mean[kept])
        merged = (columns[:, kept] + added).reshape(1, len(site.kept), -1)
        weight = matrix.weight(np.where(matrix.of(present) == 0, 0.0, merged)).astype(present.dtype)
        self.done.changed.add(self.graph.define(now.inputs[1], weight))
        self.done.changed.add(add_to_outputs(self.graph, now, constant - self.offsets.absorbed(site)))
        self.done.operators.append(now.label)
        spread = np.trace(covariance[np.ix_(gone, gone)])
        explained = np.einsum("pk,kp->", mix, covariance[np.ix_(kept, gone)])
        self.done.explained.append(float(explained / spread) if spread else 1.0)

    def _prediction(self, covariance: np.ndarray, kept: np.ndarray, gone: np.ndarray) -> np.ndarray:
        """s, `[removed, kept]`."""
        block = covariance[np.ix_(kept, kept)]
        ridge = self.damping * np.trace(block) / len(kept)
        if not ridge:
            return np.zeros((len(gone), len(kept)))
        return np.linalg.solve(block + ridge * np.eye(len(kept)), covariance[np.ix_(kept, gone)]).T
