"""Which operators have a kernel of ours, and how it is set up: geometry, packed weights, tile.

A rule looks at one operator with its shapes and gives the `Work` that computes it, or None where it does not serve:
then TVM does. Activations of rank 3 and more have their channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol

import numpy as np

from pruneir.backends.x86.boxes import strides
from pruneir.backends.x86.cpu import X86Cpu
from pruneir.backends.x86.dense import dense
from pruneir.backends.x86.depthwise import depthwise, depthwise_weights
from pruneir.backends.x86.expressions import Place
from pruneir.backends.x86.pooling import GlobalPooling, pooling
from pruneir.backends.x86.product import Product
from pruneir.backends.x86.resizing import COORDINATES, ROUNDING, Axis, Resizing, taps
from pruneir.backends.x86.rows import Normalizing, Softmax
from pruneir.backends.x86.tiling import Geometry, Grid
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes


class Kernel(Protocol):
    """A template with the sizes of one layer."""

    @property
    def items(self) -> int:
        """Shares of work for threads."""

    @property
    def scratch(self) -> int:
        """Bytes that each thread needs."""

    def source(self, name: str, finish: str) -> str:
        """Its text, from its name and the C of the function `<name>_finish`."""


class Computing(Kernel, Protocol):
    """The kernel of an operator."""

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic on one core, with all that it reads in the second level of cache."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that it reads."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A kernel, and its weights.

    weights  packed as it reads them, when they are asked for; None for a kernel without
    """

    kernel: Computing
    weights: Callable[[], np.ndarray] | None = None
    macs: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """The kernels of one operator.

    data      the value that they read
    place     the value that they make, each a part of it
    bias      added to each channel before all else
    schedule  what a table says of them
    last      whether they read data with channels last
    others    further values that they read, as ONNX has them
    """

    data: str
    place: Place
    phases: tuple[Phase, ...]
    schedule: str
    bias: np.ndarray | None = None
    last: bool = True
    others: tuple[str, ...] = ()

    @property
    def cycles(self) -> float:
        """Estimated, of the arithmetic of all."""
        return sum(phase.kernel.cycles for phase in self.phases)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that all read."""
        return sum(phase.kernel.weight_bytes for phase in self.phases)


@dataclass(frozen=True, slots=True)
class Setting:
    """What rules look at."""

    graph: Graph
    shapes: Shapes
    cpu: X86Cpu

    def shape(self, operator: Operator, slot: int = 0) -> tuple[int, ...] | None:
        """The shape of an input, if it is float32."""
        name = operator.inputs[slot] if slot < len(operator.inputs) else ""
        return self.shapes.shape(name) if name and self.shapes.elem_type(name) == 1 else None

    def constant(self, operator: Operator, slot: int) -> np.ndarray | None:
        """A constant input."""
        return self.graph.constant(operator.inputs[slot]) if _given(operator, slot) else None


def _given(operator: Operator, slot: int) -> bool:
    return slot < len(operator.inputs) and bool(operator.inputs[slot])


Rule = Callable[[Operator, Setting], Work | None]
_RULES: dict[str, Rule] = {}


def rule(*types: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators of these types."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(types, function))
        return function

    return register


def work(operator: Operator, setting: Setting) -> Work | None:
    """The kernel for an operator; None if there is none."""
    if not operator.is_a(*_RULES) or len([o for o in operator.outputs if o]) != 1:
        return None
    return _RULES[operator.type](operator, setting)


@rule("Conv")
def conv(operator: Operator, setting: Setting) -> Work | None:
    """Convolutions over one or two axes, with constant weights."""
    geometry, weights = _window(operator, setting), setting.constant(operator, 1)
    if geometry is None or weights is None:
        return None
    bias = setting.constant(operator, 2)
    if bias is None and _given(operator, 2):
        return None
    data, place, lanes = operator.inputs[0], Place(_output(operator, setting), 1), setting.cpu.lanes
    image = weights.reshape(*weights.shape[:2], geometry.kh, geometry.kw)
    groups = operator.attribute("group", 1)
    if groups == geometry.ic == geometry.oc and groups > 1:
        kernel = depthwise(geometry, lanes)
        alone = Phase(kernel, lambda: depthwise_weights(image, lanes), kernel.macs)
        return Work(data, place, (alone,), "depthwise", bias)
    geometry = replace(geometry, ic=geometry.ic // groups, oc=geometry.oc // groups, groups=groups)
    phase, schedule = _dense(geometry, image, lanes)
    return Work(data, place, (phase,), schedule, bias)


@rule("ConvTranspose")
def transposed(operator: Operator, setting: Setting) -> Work | None:
    """Transposed convolutions: one convolution for the output rows and columns of each remainder by the strides.

    The output row o sums x[i] · w[k] over all i, k with o + pad = i·stride + k: those k that have its remainder.
    """
    whole, weights, bias = _window(operator, setting), setting.constant(operator, 1), setting.constant(operator, 2)
    if whole is None or weights is None or (whole.dh, whole.dw) != (1, 1) or "output_shape" in operator.attributes:
        return None
    if (bias is None and _given(operator, 2)) or word(operator, "auto_pad", "NOTSET") not in ("NOTSET", ""):
        return None
    out, groups, lanes = _output(operator, setting), operator.attribute("group", 1), setting.cpu.lanes
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
            phases.append(_dense(geometry, taps[:, :, high.taps][:, :, :, wide.taps], lanes)[0])
    return Work(operator.inputs[0], Place(out, 1), tuple(phases), "direct, by phases", bias)


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


@rule("Gemm", "MatMul")
def matrix(operator: Operator, setting: Setting) -> Work | None:
    """Products of rows and a constant matrix: convolutions of points."""
    shape, weights = setting.shape(operator), setting.constant(operator, 1)
    if weights is None or weights.ndim > 2:
        return _product_of_two(operator, setting)
    if shape is None or weights.ndim != 2 or weights.dtype != np.float32 or not prod(shape):
        return None
    bias = setting.constant(operator, 2)
    if bias is None and _given(operator, 2):
        return None
    if operator.attribute("transA", 0):
        return None
    matrix = weights.T if operator.attribute("transB", 0) else weights
    alpha = np.float32(operator.attribute("alpha", 1.0))
    matrix = matrix if alpha == 1 else matrix * alpha
    if bias is not None:
        bias = (bias * np.float32(operator.attribute("beta", 1.0))).astype(np.float32)
        if bias.size not in (1, matrix.shape[1]) or (bias.ndim > 1 and bias.shape[-1] != bias.size):
            return None
        bias = np.broadcast_to(bias.ravel(), matrix.shape[1:])
    out = _output(operator, setting)
    points = prod(out[:-1])
    geometry = Geometry(1, 1, points, matrix.shape[0], 1, points, matrix.shape[1])
    image = matrix.T[:, :, None, None]
    phase, schedule = _dense(geometry, image, setting.cpu.lanes)
    return Work(operator.inputs[0], Place(out, len(out) - 1), (phase,), schedule, bias, last=False)


def _product_of_two(operator: Operator, setting: Setting) -> Work | None:
    """Of matrices that are computed, alone or many, with broadcasts."""
    plain = operator.is_a("MatMul") or (operator.attribute("alpha", 1.0) == 1 and not _given(operator, 2))
    one, two = setting.shape(operator, 0), setting.shape(operator, 1)
    if not plain or one is None or two is None or min(len(one), len(two)) < 2 or operator.attribute("transA", 0):
        return None
    axes = max(len(one), len(two)) - 2
    batch = "abcdefgh"[:axes]
    first, second = batch[axes - len(one) + 2 :] + "mk", batch[axes - len(two) + 2 :] + "kn"
    if operator.attribute("transB", 0):
        second = second[:-2] + "nk"
    return _contraction(operator, setting, first, second, batch + "mn")


@rule("Einsum")
def einsum(operator: Operator, setting: Setting) -> Work | None:
    """Products of two matrices, or of many."""
    sides, arrow, out = word(operator, "equation", "").replace(" ", "").partition("->")
    first, comma, second = sides.partition(",")
    if not arrow or not comma or not (first + second + out).isalpha() or len(operator.inputs) != 2:
        return None
    return _contraction(operator, setting, first, second, out)


def _contraction(operator: Operator, setting: Setting, first: str, second: str, out: str) -> Work | None:
    """A sum over one axis; axes are called as Einsum does, and one of length 1 is repeated."""
    one, two, made = setting.shape(operator, 0), setting.shape(operator, 1), _output(operator, setting)
    summed = (set(first) & set(second)) - set(out)
    if one is None or two is None or len(summed) != 1 or len(out) < 2 or not prod(one) * prod(two):
        return None
    (term,) = summed
    row, column, batch = out[-2], out[-1], out[:-2]
    distinct = all(len({*each}) == len(each) for each in (first, second, out))
    if not distinct or {*first} - {*batch} != {row, term} or {*second} - {*batch} != {term, column}:
        return None
    a, b = (
        {letter: step if size != 1 else 0 for letter, size, step in zip(letters, shape, strides(shape), strict=True)}
        for letters, shape in ((first, one), (second, two))
    )
    terms = one[first.index(term)]
    if terms != two[second.index(term)] or (a[term] != 1 and terms != 1):
        return None
    kernel = Product(
        made[:-2], tuple(a.get(each, 0) for each in batch), tuple(b.get(each, 0) for each in batch),
        made[-2], terms, made[-1], a[row], b[term], b[column], setting.cpu.lanes,
    )  # fmt: skip
    phase = Phase(kernel, macs=kernel.macs)
    place = Place(made, len(made) - 1)
    return Work(operator.inputs[0], place, (phase,), "product", last=False, others=(operator.inputs[1],))


@rule("Softmax", "LogSoftmax")
def softmax(operator: Operator, setting: Setting) -> Work | None:
    """Over the last axis, or over channels."""
    shape = setting.shape(operator)
    if shape is None or not shape or not prod(shape):
        return None
    recent = setting.graph.opset() >= 13
    axis = operator.attribute("axis", -1 if recent else 1) % len(shape)
    if not recent and prod(shape[axis + 1 :]) != 1:  # over all axes from this one on
        return None
    behind = axis == len(shape) - 1
    if not behind and (axis != 1 or len(shape) < 3):
        return None
    place = Place(shape, axis)
    kernel = Softmax(prod(shape) // shape[axis], shape[axis], setting.cpu.lanes, operator.is_a("LogSoftmax"))
    return Work(operator.inputs[0], place, (Phase(kernel),), "softmax", last=place.last)


@rule("LayerNormalization")
def layer_normalization(operator: Operator, setting: Setting) -> Work | None:
    """Over the last axis, with constant scale and shift."""
    shape, scale, shift = setting.shape(operator), setting.constant(operator, 1), setting.constant(operator, 2)
    if shape is None or scale is None or (shift is None and _given(operator, 2)) or not prod(shape):
        return None
    if operator.attribute("axis", -1) % len(shape) != len(shape) - 1 or scale.size != shape[-1]:
        return None
    kernel = Normalizing(prod(shape[:-1]), shape[-1], setting.cpu.lanes, float(operator.attribute("epsilon", 1e-5)))
    added = np.zeros_like(scale) if shift is None else shift
    phase = Phase(kernel, lambda: kernel.packed(scale, added))
    return Work(operator.inputs[0], Place(shape, len(shape) - 1), (phase,), "normalize", last=False)


def _dense(geometry: Geometry, weights: np.ndarray, lanes: int) -> tuple[Phase, str]:
    kernel = dense(geometry, lanes)
    return Phase(kernel, lambda: kernel.packed(weights), geometry.macs), str(kernel)


@rule("MaxPool", "AveragePool")
def pool(operator: Operator, setting: Setting) -> Work | None:
    """Windows over one or two axes."""
    window = tuple(operator.attribute("kernel_shape"))
    geometry = _window(operator, setting, window)
    if geometry is None:
        return None
    pb, pr = _behind(geometry)
    if word(operator, "auto_pad", "NOTSET") in ("NOTSET", ""):
        pb, pr = _two(tuple(operator.attribute("pads") or (0,) * 2 * len(window))[len(window) :], 0)
    maximum = operator.is_a("MaxPool")
    padded = bool(operator.attribute("count_include_pad", 0))
    kernel = pooling(geometry, setting.cpu.lanes, maximum=maximum, padded=padded, pb=pb, pr=pr)
    return Work(operator.inputs[0], Place(_output(operator, setting), 1), (Phase(kernel),), "pool")


def _behind(g: Geometry) -> tuple[int, int]:
    """Padding below and to the right, as much as windows need."""
    high = (g.oh - 1) * g.sh + (g.kh - 1) * g.dh + 1 - g.ih - g.pt
    wide = (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1 - g.iw - g.pl
    return max(0, high), max(0, wide)


@rule("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax")
def whole(operator: Operator, setting: Setting) -> Work | None:
    """The mean or the maximum of each channel over all points."""
    shape, out = setting.shape(operator), _output(operator, setting)
    if shape is None or len(shape) < 3 or not prod(shape):
        return None
    if operator.is_a("ReduceMean", "ReduceMax"):
        given = operator.attribute("axes")
        axes = given if given is not None else setting.constant(operator, 1)
        if axes is None or sorted(int(axis) % len(shape) for axis in axes) != list(range(2, len(shape))):
            return None
    maximum = operator.is_a("GlobalMaxPool", "ReduceMax")
    kernel = GlobalPooling(shape[0], prod(shape[2:]), shape[1], maximum)
    return Work(operator.inputs[0], Place(out, 1), (Phase(kernel),), "pool")


@rule("Resize", "Upsample")
def resize(operator: Operator, setting: Setting) -> Work | None:
    """Rows and columns, nearest or linear."""
    shape, out = setting.shape(operator), _output(operator, setting)
    if shape is None or len(shape) != 4 or shape[:2] != out[:2] or not prod(out):
        return None
    mode = word(operator, "mode", "nearest")
    coordinates = word(operator, "coordinate_transformation_mode", "half_pixel")
    nearest = word(operator, "nearest_mode", "round_prefer_floor")
    if operator.is_a("Upsample") or setting.graph.opset() < 11:
        coordinates, nearest = "asymmetric", "floor"
    plain = not operator.attribute("antialias") and word(operator, "keep_aspect_ratio_policy", "stretch") == "stretch"
    if mode not in ("nearest", "linear") or coordinates not in COORDINATES or nearest not in ROUNDING or not plain:
        return None
    slots = range(1, len(operator.inputs))
    given = [v for v in (setting.constant(operator, slot) for slot in slots) if v is not None and v.size]
    scales = next((v for v in reversed(given) if v.dtype.kind == "f"), None)
    if scales is None:
        scales = np.asarray(operator.attribute("scales") or [])
    if scales.size == 2:
        scales = np.concatenate([[1, 1], scales])
    rows, columns = (
        taps(
            Axis(shape[axis], out[axis], float(scales[axis]) if scales.size == 4 else out[axis] / shape[axis]),
            coordinates,
            nearest if mode == "nearest" else "",
        )
        for axis in (2, 3)
    )
    kernel = Resizing(shape[0], shape[2], shape[3], shape[1], rows, columns, mode == "linear")
    return Work(operator.inputs[0], Place(out, 1), (Phase(kernel),), "resize")


def word(operator: Operator, name: str, default: str) -> str:
    """An attribute that is text."""
    value = operator.attribute(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def _output(operator: Operator, setting: Setting) -> tuple[int, ...]:
    shape = setting.shapes.shape(operator.outputs[0])
    assert shape is not None
    return shape


def _window(operator: Operator, setting: Setting, kernel: tuple[int, ...] | None = None) -> Geometry | None:
    """The geometry of an operator whose window moves over one or two axes; None where it has other axes.

    kernel  its window, if it has no weights
    """
    shape, out = setting.shape(operator), setting.shapes.shape(operator.outputs[0])
    if shape is None or out is None or len(shape) not in (3, 4) or not prod(out):
        return None
    axes = len(shape) - 2
    if kernel is None:
        weights = setting.constant(operator, 1)
        if weights is None or weights.dtype != np.float32:
            return None
        kernel = weights.shape[2:]
    strides = operator.attribute("strides") or (1,) * axes
    dilations = operator.attribute("dilations") or (1,) * axes
    before = _pads(operator, shape[2:], out[2:], kernel, strides, dilations)
    ih, iw = _two(shape[2:])
    oh, ow = _two(out[2:])
    kh, kw = _two(kernel)
    sh, sw = _two(strides)
    dh, dw = _two(dilations)
    pt, pl = _two(before, 0)
    return Geometry(shape[0], ih, iw, shape[1], oh, ow, out[1], kh, kw, sh, sw, dh, dw, pt, pl)


def _two(values: Sequence[int], fill: int = 1) -> tuple[int, int]:
    """What two axes have, of which the first may be missing."""
    first, second = (*(fill,) * (2 - len(values)), *values)
    return int(first), int(second)


def _pads(
    operator: Operator,
    shape: tuple[int, ...],
    out: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    """Padding in front of each axis."""
    auto = word(operator, "auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return tuple((operator.attribute("pads") or (0,) * 2 * len(shape))[: len(shape)])
    if auto == "VALID":
        return (0,) * len(shape)
    total = [
        max(0, (o - 1) * s + (k - 1) * d + 1 - i)
        for i, o, k, s, d in zip(shape, out, kernel, strides, dilations, strict=True)
    ]
    return tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total)
