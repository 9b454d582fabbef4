"""Why channels go together and why others stay: coupling, put so that people can check it."""

from pruneir.explain.axes import AxisFacts, Reader
from pruneir.explain.constraints import constraints
from pruneir.explain.drawing import drawing
from pruneir.explain.layers import Layer, Side, layers
from pruneir.explain.layout import Layout, layout
from pruneir.explain.locks import locks
from pruneir.explain.reasons import Reasons

__all__ = [
    "AxisFacts",
    "Layer",
    "Layout",
    "Reader",
    "Reasons",
    "Side",
    "constraints",
    "drawing",
    "layers",
    "layout",
    "locks",
]
