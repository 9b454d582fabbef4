"""Rules for matrix products: with constant weights, which are convolutions of points, and of two activations."""

from __future__ import annotations

from math import prod

import numpy as np

from pruneir.backends.x86.boxes import strides
from pruneir.backends.x86.convolutions import by_taps
from pruneir.backends.x86.expressions import Place
from pruneir.backends.x86.product import Product
from pruneir.backends.x86.tiling import Geometry
from pruneir.backends.x86.work import Phase, Setting, Work, given, output, rule
from pruneir.graph import Operator


@rule("Gemm", "MatMul")
def matrix(operator: Operator, setting: Setting) -> Work | None:
    """Products of rows and a constant matrix: convolutions of points."""
    shape, weights = setting.shape(operator), setting.constant(operator, 1)
    if weights is None or weights.ndim > 2:
        return _product_of_two(operator, setting)
    if shape is None or weights.ndim != 2 or weights.dtype != np.float32 or not prod(shape):
        return None
    bias = setting.constant(operator, 2)
    if bias is None and given(operator, 2):
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
    out = output(operator, setting)
    points = prod(out[:-1])
    geometry = Geometry(1, 1, points, matrix.shape[0], 1, points, matrix.shape[1])
    image = matrix.T[:, :, None, None]
    phase = by_taps(geometry, image, setting.cpu.lanes)
    return Work(operator.inputs[0], Place(out, len(out) - 1), (phase,), bias, last=False)


def _product_of_two(operator: Operator, setting: Setting) -> Work | None:
    """Of matrices that are computed, alone or many, with broadcasts."""
    plain = operator.is_a("MatMul") or (operator.attribute("alpha", 1.0) == 1 and not given(operator, 2))
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
    sides, arrow, out = operator.attribute("equation", "").replace(" ", "").partition("->")
    first, comma, second = sides.partition(",")
    if not arrow or not comma or not (first + second + out).isalpha() or len(operator.inputs) != 2:
        return None
    return _contraction(operator, setting, first, second, out)


def _contraction(operator: Operator, setting: Setting, first: str, second: str, out: str) -> Work | None:
    """A sum over one axis; axes are called as Einsum does, and one of length 1 is repeated."""
    one, two, made = setting.shape(operator, 0), setting.shape(operator, 1), output(operator, setting)
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
    phase = Phase(kernel, "product", macs=kernel.macs)
    place = Place(made, len(made) - 1)
    return Work(operator.inputs[0], place, (phase,), last=False, others=(operator.inputs[1],))
