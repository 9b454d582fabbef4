"""Resize with sizes that are computed at run time, though only kept axes depend on symbols.

A Resize to sizes scales every axis by float32(out / in). So from opset 18 on the axes whose length changes are named
by the attribute `axes`, with constant sizes; before, constant scales say the same: out / in, and 1 for a kept axis.
"""

from __future__ import annotations

import math

import numpy as np

from pruneir.folding.edit import bypass
from pruneir.folding.sizes import Column, Samples
from pruneir.graph import Graph, Operator

_AXES = 18
"""The opset from which on Resize has the attribute `axes`."""
_SIZES = 3
"""The input slot of `sizes`; `scales` stands before it."""


def drop_resize(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Resize(x, sizes) -> x, where every axis keeps its length."""
    kept = _is_plain(operator) and samples.same(operator.inputs[0], operator.outputs[0])
    return bypass(graph, operator, operator.inputs[0]) if kept else ()


def fold_sizes(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """Resize(x, f(Shape(…))) -> Resize(x, {out, …}, axes=[…]), before opset 18 Resize(x, scales {1, out / in, …})."""
    before, after = samples.shape(operator.inputs[0]), samples.shape(operator.outputs[0])
    if not _is_plain(operator) or operator.inputs[_SIZES] in graph.initializers or before is None or after is None:
        return ()
    kept = [a == b and samples.is_certain(a) for a, b in zip(before, after, strict=True)]
    changed = [axis for axis, same in enumerate(kept) if not same]
    if not changed or any(len({*before[axis]}) > 1 or len({*after[axis]}) > 1 for axis in changed):
        return ()
    if graph.opset() >= _AXES:
        sizes = np.array([after[axis][0] for axis in changed])
        name = graph.define(samples.fresh_name(graph, f"{operator.label}.sizes"), sizes)
        new = operator.with_input(_SIZES, name).with_attributes(axes=tuple(changed))
    else:
        scales = [1.0 if same else _scale(operator, a, b) for same, a, b in zip(kept, before, after, strict=True)]
        if not all(scales):
            return ()
        name = graph.define(samples.fresh_name(graph, f"{operator.label}.scales"), np.array(scales, np.float32))
        new = operator.with_input(_SIZES, "").with_input(_SIZES - 1, name)
    graph.replace(operator, new)
    return (operator.outputs[0],)


def _is_plain(operator: Operator) -> bool:
    """Whether a Resize goes to given sizes, without a crop and without deriving other sizes from them."""
    given = len(operator.inputs) > _SIZES and bool(operator.inputs[_SIZES])
    crops = operator.attribute("coordinate_transformation_mode") in (_CROP, _CROP.encode())
    return given and not crops and operator.attribute("keep_aspect_ratio_policy", "stretch") in ("stretch", b"stretch")


_CROP = "tf_crop_and_resize"


def _scale(operator: Operator, before: Column, after: Column) -> float:
    """What the runtime computes from the sizes; 0 where it does not lead back to them, in single or double precision.

    `half_pixel_symmetric` centres on the product itself, so there it has to be exact.
    """
    length, wanted = np.float32(before[0]), np.float32(after[0])
    scale = wanted / length
    products = (float(length * scale), float(length) * float(scale))
    exact = operator.attribute("coordinate_transformation_mode") in ("half_pixel_symmetric", b"half_pixel_symmetric")
    fits = all(product == wanted if exact else math.floor(product) == wanted for product in products)
    return float(scale) if fits else 0.0
