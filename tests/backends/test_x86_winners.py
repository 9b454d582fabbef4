"""Winners on x86: the kernel of a threshold, and which masks of a graph it serves."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pruneir.backends.x86.cpu import cpu
from pruneir.backends.x86.lower import setting_of, steps
from pruneir.backends.x86.winners import Threshold
from pruneir.deployment.compiling import Compiler
from pruneir.graph import parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds
from support import needs
from support.bundles import bundled
from support.winners import winning
from support.x86_tasks import library

pytestmark = needs.avx2

SIZES = [(1, 5, 7, 1, 3), (2, 16, 49, 1, 235), (3, 40, 1, 1, 40), (1, 9, 50, 7, 20), (2, 3, 3, 10, 1), (1, 1, 1, 1, 1)]
"""Samples, channels, points, step, k."""
NUMBERS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "all sizes": lambda random, size: random.standard_normal(size) * 10.0 ** random.integers(-40, 38, size),
    "mostly zero": lambda random, size: np.maximum(random.standard_normal(size) - 1, 0),
    "few different": lambda random, size: random.integers(-2, 3, size) / 2,
    "infinite": lambda random, size: random.choice([np.inf, -np.inf, 1.0], size),
}


@cache
def compiled(lanes: int) -> ctypes.CDLL:
    kernels = [Threshold(*size, lanes) for size in SIZES]
    texts = [kernel.source(f"kernel_{place}", "") for place, kernel in enumerate(kernels)]
    return library("\n".join(['#include "simd.h"', *texts]), lanes, "-O1")


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("place", range(len(SIZES)))
@pytest.mark.parametrize("lanes", [8, 16])
def test_a_threshold_is_the_kth_largest_magnitude(lanes: int, place: int, kind: str) -> None:
    samples, channels, points, step, k = SIZES[place]
    x = NUMBERS[kind](np.random.default_rng(0), (samples, channels * points)).astype(np.float32)
    last = np.ascontiguousarray(x.reshape(samples, channels, points).transpose(0, 2, 1))
    y = np.full(samples, np.nan, np.float32)
    kernel = Threshold(*SIZES[place], lanes)
    scratch = np.zeros(kernel.scratch + 64, np.uint8)
    pointers = (ctypes.c_void_p * 2)(last.ctypes.data, y.ctypes.data)
    at = ctypes.c_void_p(scratch.ctypes.data + -scratch.ctypes.data % 64)
    run = compiled(lanes)[f"kernel_{place}"]
    run(pointers, at, ctypes.c_long(0), ctypes.c_long(kernel.items))
    np.testing.assert_array_equal(y, -np.sort(-np.abs(x[:, ::step]), axis=1)[:, k - 1])


_LAYER = "x[2,3,6,7] -> y { a = Conv(x, w[5,3,3,3]); m = Abs(a); f = Flatten(m); "
_MASK = "v, i = TopK(f, {9}, axis=1); t = Slice(v, {-1}, {9223372036854775807}, {1});"
_WHERE = "l = Less(m, s); y = Where(l, 0.0, a) }"
TAKEN = {
    "exact": (f"{_LAYER}{_MASK} s = Reshape(t, {{-1,1,1,1}}); {_WHERE}", ["Conv", "Threshold", "Winners"]),
    "static": (
        "x[2,3,6,7] -> y { a = Conv(x, w[5,3,3,3]); m = Abs(a); l = Less(m, 0.5); y = Where(l, 0.0, a) }",
        ["Conv"],  # the mask is part of what follows the sums
    ),
    "over samples": (
        "x[2,8] -> y { m = Abs(x); v, i = TopK(m, {1}, axis=0); l = Less(m, v); y = Where(l, 0.0, x) }",
        ["Abs", "TopK", "Less", "Where"],
    ),
    "of the first elements": (
        f"{_LAYER}e = Slice(f, {{0}}, {{50}}, {{1}}, {{1}}); {_MASK.replace('TopK(f', 'TopK(e')}"
        f" s = Reshape(t, {{-1,1,1,1}}); {_WHERE}",
        ["Conv", "Abs", "Flatten", "Slice", "TopK", "Slice", "Reshape", "Less", "Where"],
    ),
    "by position": (
        "x[2,8,3] -> y { m = Abs(x); v, i = TopK(m, {1}, axis=1); l = Less(m, v); y = Where(l, 0.0, x) }",
        ["Abs", "TopK", "Less", "Where"],
    ),
    "k = 1, two axes": (
        "x[2,8] -> y { m = Abs(x); v, i = TopK(m, {1}, axis=1); l = Less(m, v); y = Where(l, 0.0, x) }",
        ["Threshold", "Winners"],
    ),
    "places read": (
        "x[2,8] -> y, p { m = Abs(x); v, i = TopK(m, {1}, axis=1); p = Cast(i, to=1); l = Less(m, v);"
        " y = Where(l, 0.0, x) }",
        ["Abs", "TopK", "Cast", "Less", "Where"],
    ),
    "places are an output": (
        "x[2,8] -> y, i:i64 { m = Abs(x); v, i = TopK(m, {1}, axis=1); l = Less(m, v); y = Where(l, 0.0, x) }",
        ["Abs", "TopK", "Less", "Where"],
    ),
    "places of several read": (
        f"{_LAYER.replace('-> y', '-> y, i:i64')}{_MASK} s = Reshape(t, {{-1,1,1,1}}); {_WHERE}",
        ["Conv", "Abs", "Flatten", "TopK", "Threshold", "Winners"],
    ),
}


@pytest.mark.parametrize(("text", "wanted"), TAKEN.values(), ids=TAKEN)
def test_masks_that_are_one_threshold_a_sample_are_taken(text: str, wanted: list[str]) -> None:
    found = steps(setting_of(parse(text), cpu("x86-avx2")))
    assert [step.main.type for step in found] == wanted


@pytest.mark.tvm
@needs.cc
def test_masks_let_through_what_they_do_in_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler.of("x86-avx2")
    put = winning("x[3,12] -> y { a = Gemm(x, w1[12,10], b1[10]); h = Relu(a); y = Gemm(h, w2[10,4], b2[4]) }", 0.1)
    graphs = {name: parse(text) for name, (text, _) in TAKEN.items()} | {"as integral puts it": put}
    graph = bundled({name: compiler.prepared(each) for name, each in graphs.items()})
    feeds = random_feeds(graph, seed=1)
    monkeypatch.setenv("OPT", "-O0")
    found = compiler.compile(graph, tmp_path / "x86", fold=False).artifact.run(feeds)
    for name, wanted in next(evaluate(graph, graph.outputs, [feeds])).items():
        assert np.array_equal(found[name] == 0, wanted == 0), name
        assert np.abs(found[name] - wanted).max() <= 1e-5 * np.abs(wanted).max(), name
