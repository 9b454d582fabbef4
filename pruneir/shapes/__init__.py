"""Concrete shapes of every value, and the content of those that can be known before any data is seen.

Symbolic dimensions are given sizes (`sizes`), then the operators are walked once (`walk`): what depends on shapes and
small constants alone is evaluated (`evaluation`), everything else has its shape inferred, node by node. A graph's
arithmetic on shapes is thereby executed, never pattern-matched. Doing it at two sizes, or at odd ones (`odd`), tells
what depends on a symbol from what does not.
"""

from pruneir.shapes.odd import odd_points
from pruneir.shapes.sizes import (
    at_batch,
    at_other_sizes,
    infer,
    input_sizes,
    symbol_of,
    two_sizes,
    with_input_shapes,
)
from pruneir.shapes.walk import Shapes, Sizes

__all__ = [
    "Shapes",
    "Sizes",
    "at_batch",
    "at_other_sizes",
    "infer",
    "input_sizes",
    "odd_points",
    "symbol_of",
    "two_sizes",
    "with_input_shapes",
]
