"""Rules for convolutions with constant weights: dense, grouped, depthwise, transposed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pruneir.backends.x86.dense import dense
from pruneir.backends.x86.depthwise import depthwise, depthwise_weights
from pruneir.backends.x86.expressions import Place
from pruneir.backends.x86.sparse import sparse
from pruneir.backends.x86.tiling import Geometry, Grid
from pruneir.backends.x86.window import window
from pruneir.backends.x86.work import Phase, Setting, Work, given, output, rule
from pruneir.graph import Operator
from pruneir.storage import Storage, together


@rule("Conv")
def conv(operator: Operator, setting: Setting) -> Work | None:
    """Convolutions over one or two axes, with constant weights."""
    geometry, weights = window(operator, setting), setting.constant(operator, 1)
    if geometry is None or weights is None:
        return None
    bias = setting.constant(operator, 2)
    if bias is None and given(operator, 2):
        return None
    data, place, lanes = operator.inputs[0], Place(output(operator, setting), 1), setting.cpu.lanes
    image = weights.reshape(*weights.shape[:2], geometry.kh, geometry.kw)
    groups = operator.attribute("group", 1)
    if groups == geometry.ic == geometry.oc and groups > 1:
        kernel = depthwise(geometry, lanes)
        alone = Phase(kernel, "depthwise", lambda: depthwise_weights(image, lanes), kernel.macs)
        return Work(data, place, (alone,), bias)
    geometry = replace(geometry, ic=geometry.ic // groups, oc=geometry.oc // groups, groups=groups)
    return Work(data, place, (by_taps(geometry, image, lanes),), bias)


@rule("ConvTranspose")
def transposed(operator: Operator, setting: Setting) -> Work | None:
    """Transposed convolutions: one convolution for the output rows and columns of each remainder by the strides.

    The output row o sums x[i] · w[k] over all i, k with o + pad = i·stride + k: those k that have its remainder.
    """
    whole, weights, bias = window(operator, setting), setting.constant(operator, 1), setting.constant(operator, 2)
    if whole is None or weights is None or (whole.dh, whole.dw) != (1, 1) or "output_shape" in operator.attributes:
        return None
    if (bias is None and given(operator, 2)) or operator.attribute("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return None
    out, groups, lanes = output(operator, setting), operator.attribute("group", 1), setting.cpu.lanes
    taps = weights.reshape(groups, -1, weights.shape[1], whole.kh, whole.kw).swapaxes(1, 2)
    taps = np.pad(taps.reshape(-1, *taps.shape[2:]), [(0, 0), (0, 0), (0, 1), (0, 1)])
    phases = []
    for high in _remainders(whole.oh, whole.kh, whole.sh, whole.pt):
        for wide in _remainders(whole.ow, whole.kw, whole.sw, whole.pl):
            grid = Grid(whole.oh, whole.ow, high.first, wide.first, whole.sh, whole.sw)
            geometry = Geometry(
                whole.n, whole.ih, whole.iw, whole.ic // groups, high.count, wide.count, out[1] // groups,
                len(high.taps), len(wide.taps), pt=high.pad, pl=wide.pad, groups=groups, grid=grid,
            )  # fmt: skip
            phase = by_taps(geometry, taps[:, :, high.taps][:, :, :, wide.taps], lanes)
            is_padding = whole.kh in high.taps or whole.kw in wide.taps
            phases.append(replace(phase, storage=None) if is_padding else phase)
    return Work(operator.inputs[0], Place(out, 1), tuple(_of_one_layer(phases)), bias)


def _of_one_layer(phases: Sequence[Phase]) -> Iterator[Phase]:
    """The phases, the first of each format with what all take whose weights have that format."""
    found: dict[str, list[Storage]] = {}
    for phase in phases:
        if phase.storage is not None:
            found.setdefault(str(phase.storage.format), []).append(phase.storage)
    for phase in phases:
        parts = found.pop(str(phase.storage.format), None) if phase.storage is not None else None
        yield replace(phase, storage=together(parts, shared=False) if parts is not None else None)


@dataclass(frozen=True, slots=True)
class _Remainder:
    """Outputs o with the same remainder of o + pad: the first, how many, the taps that they sum, their padding."""

    first: int
    count: int
    taps: list[int]
    pad: int


def _remainders(outputs: int, kernel: int, stride: int, pad: int) -> Iterator[_Remainder]:
    for first in range(min(stride, outputs)):
        remainder = (first + pad) % stride
        taps = list(range(remainder, kernel, stride))[::-1] or [kernel]  # which is padding, and 0
        yield _Remainder(first, -(-(outputs - first) // stride), taps, len(taps) - 1 - (first + pad) // stride)


def by_taps(geometry: Geometry, weights: np.ndarray, lanes: int) -> Phase:
    """A dense convolution, its zeros left out where that is faster."""
    kernel = dense(geometry, lanes)
    compared = sparse(geometry, weights, lanes, kernel)
    without, storage = (compared.kernel, compared.storage) if compared is not None else (None, None)
    if without is not None:
        return Phase(without, str(without), without.packed, geometry.macs, storage)
    return Phase(kernel, str(kernel), lambda: kernel.packed(weights), geometry.macs, storage)
