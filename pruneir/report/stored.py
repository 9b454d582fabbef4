"""What zero weights save, as numbers and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pruneir.cost import macs_by_operator
from pruneir.coupling import Coupling
from pruneir.folding.constants import fold_subgraphs
from pruneir.graph import Graph
from pruneir.pipeline.passes import LayerRow
from pruneir.sparsity import Size, Weight, density, macs_kept, sizes, total, weights

_TELLING = 0.99
"""Share of weights that are not zero above which a network counts as dense."""


def is_sparse(found: Sequence[Weight]) -> bool:
    """Whether weights have so many zeros that they are worth a table."""
    return density(found) < _TELLING


def stored(graph: Graph) -> Size:
    """The bytes of all weights, also of those that operators make of constants, as of a matrix that is reshaped."""
    folded = graph.copy()
    fold_subgraphs(folded)
    return total(sizes(weights(folded)))


def macs_left(coupling: Coupling) -> int:
    """Multiply-accumulates where zero weights are skipped."""
    return sum(macs_kept(macs_by_operator(coupling), weights(coupling.graph)).values())


def layer_document(row: LayerRow) -> dict[str, Any]:
    """One weight as JSON."""
    return {
        "name": row.name,
        "layer": row.layer,
        "weights": row.weights,
        "nonzero": {"before": row.before, "after": row.after},
        "note": row.note,
    }


def size_document(size: Size) -> dict[str, Any]:
    """Bytes as JSON; `form` is missing where several tensors are added up."""
    found: dict[str, Any] = {
        "name": size.name,
        "entries": size.entries,
        "nonzero": size.nonzero,
        "raw": size.raw,
        "gzip": size.gzip,
        "packed": size.packed,
    }
    return found | ({"form": size.form} if size.form else {})
