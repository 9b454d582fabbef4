"""The intermediate representation: operators and values over a networkx digraph."""

from pruneir.graph.check import check
from pruneir.graph.graph import Graph, TensorType, constant_of
from pruneir.graph.operator import Operator
from pruneir.graph.parser import parse
from pruneir.graph.text import text

__all__ = ["Graph", "Operator", "TensorType", "check", "constant_of", "parse", "text"]
