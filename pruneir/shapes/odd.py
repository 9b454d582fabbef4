"""Odd points: sizes of symbolic dimensions that show what two ordinary choices hide, a rounding or a clamp."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pruneir.graph import Graph
from pruneir.shapes.sizes import symbol_of
from pruneir.shapes.walk import Shapes, Walk

_PRIMES = tuple(n for n in range(3, 3000) if all(n % d for d in range(2, math.isqrt(n) + 1)))
_FACTORS = (1, 2, 4, 8, 16, 32, 64)
"""What a symbolic size may have to be a multiple of; the first that fits counts."""
_LITTLE = (13, 37, 61)
"""Where small sizes are looked for: at primes from these on."""

_LARGE = 2500
"""Where a large size is looked for, that a clamp would show at."""


def odd_points(graph: Graph, first: Shapes, second: Shapes) -> list[Shapes]:
    """The shapes where symbols but the batch have odd sizes, and different ones: large, near `first`, and small.

    A symbol that only fits in multiples of a power of two gets such a multiple of a prime. Empty if nothing fits.
    """
    near: dict[str, int] = {}
    batches: set[str] = set()
    for name, shape in first.inputs.items():
        for axis, (size, other) in enumerate(zip(shape, second.inputs[name], strict=True)):
            if size != other:
                symbol = symbol_of(graph, name, axis)
                near.setdefault(symbol, size)
                batches |= {symbol} if axis == 0 else set()
    free = [symbol for symbol in near if symbol not in batches]

    def walk(sizes: Mapping[str, int]) -> Shapes | None:
        inputs = {
            name: tuple(
                sizes.get(symbol_of(graph, name, axis), size) if size != other else size
                for axis, (size, other) in enumerate(zip(shape, second.inputs[name], strict=True))
            )
            for name, shape in first.inputs.items()
        }
        found = Walk(graph, inputs).run()
        return found if len(found.failures) <= len(first.failures) else None

    def prime(least: int, index: int) -> int:
        return [n for n in _PRIMES if n > least][index]

    def sizes_at(factors: Mapping[str, int], share: float, *, distinct: bool) -> dict[str, int]:
        return {
            symbol: factors[symbol] * prime(int(near[symbol] * share) // factors[symbol], index * distinct)
            for index, symbol in enumerate(free)
        }

    if not free:
        return []
    for distinct, share in ((True, 1.0), (True, 0.5), (False, 1.0), (False, 0.5)):
        factors = dict.fromkeys(free, 1)
        found = walk(sizes_at(factors, share, distinct=distinct))
        if found is None:
            factors = dict.fromkeys(free, _FACTORS[-1])
            found = walk(sizes_at(factors, share, distinct=distinct))
            for group in ([[symbol] for symbol in free] if distinct else [free]) if found else []:
                for factor in _FACTORS[:-1]:
                    fewer = factors | dict.fromkeys(group, factor)
                    lower = walk(sizes_at(fewer, share, distinct=distinct))
                    if lower is not None:
                        found, factors = lower, fewer
                        break
        if found is None:
            continue
        points = [found]
        for least in _LITTLE:
            sizes = {s: factors[s] * prime(least - 1, index * distinct) for index, s in enumerate(free)}
            little = walk(sizes)
            if little is not None and all(all(little.shape(name) or (1,)) for name in little.types):
                points.append(little)
                break
        large = walk({s: factors[s] * prime(_LARGE // factors[s], index * distinct) for index, s in enumerate(free)})
        return [large, *points] if large is not None else points
    return []
