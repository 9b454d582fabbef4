"""Channel coupling: which positions of which axes must live or die together."""

from pruneir.coupling.engine import Traced, Use, trace
from pruneir.coupling.groups import Coupling, Group, Member
from pruneir.coupling.rule import Cut, Edit, Op, Refused, rule
from pruneir.graph import Graph
from pruneir.memory import building
from pruneir.shapes import Shapes


def couple(graph: Graph, shapes: Shapes | None = None, **options: bool) -> Coupling:
    """Trace the coupling of a graph's channels.

    shapes   concrete shapes of its values; inferred if not given
    options  `cut_norms`: open what changes the statistics of a normalisation
    """
    with building():
        return Coupling(trace(graph, shapes, **options))


__all__ = ["Coupling", "Cut", "Edit", "Group", "Member", "Op", "Refused", "Traced", "Use", "couple", "rule", "trace"]
