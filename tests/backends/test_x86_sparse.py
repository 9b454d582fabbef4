"""Sparse kernels: sums as numpy's for every geometry and pattern of zeros, and no memory touched beyond the arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pruneir.backends.x86.sparse_groups import Groups, groups, offsets
from pruneir.backends.x86.sparse_rows import Rows, rows
from pruneir.backends.x86.tiling import Geometry
from support import needs
from support.quick import first_quick
from support.x86_convolutions import AVX2, AVX512, CASES, FINISH, Guarded, build, conv, correlated, geometries

GROUPED = {
    "groups of channels": Geometry(1, 7, 8, 5, 7, 8, 9, 3, 3, 1, 1, 1, 1, 1, 1, groups=3),
    "groups of channels, 1×1": Geometry(2, 4, 5, 6, 4, 5, 10, groups=2),
}
SHAPES = {**CASES, **GROUPED}
MAKE = {"groups": groups, "rows": rows}
BUILDS = {
    "8 lanes": (8, "-O0"),
    "8 lanes, optimized": (8, "-O3"),
    "16 lanes": (16, "-O0"),
}
Kernel: TypeAlias = Groups | Rows


def weights_of(g: Geometry, density: float, width: int, seed: int = 0) -> np.ndarray:
    """With zeros in groups of so many filters; the first panel of filters is full, the second empty."""
    rng = np.random.default_rng(seed)
    shape = (g.groups * g.oc, g.ic, g.kh, g.kw)
    panels = -(-shape[0] // width)
    mask = np.repeat(rng.random((panels, *shape[1:])) < density, width, axis=0)[: shape[0]]
    mask[:width] = True
    mask[width : 2 * width] = False
    return np.asarray(rng.standard_normal(shape, np.float32) * mask, np.float32)


def convolved(x: np.ndarray, weights: np.ndarray, g: Geometry) -> np.ndarray:
    """In double precision, each group of channels for itself."""
    parts = zip(np.split(x, g.groups, axis=3), np.split(weights, g.groups), strict=True)
    return np.concatenate([correlated(*part, g) for part in parts], axis=3)


def text_of(kernels: Sequence[Kernel | None]) -> str:
    """Each as `conv_<i>`."""
    text = ""
    for i, kernel in enumerate(kernels):
        if kernel is not None:
            channels = kernel.geometry.groups * kernel.geometry.oc
            text += kernel.source(f"conv_{i}", FINISH.format(name=f"conv_{i}", channels=channels))
    return text


@cache
def compiled(make: str, lanes: int, optimize: str) -> tuple[ctypes.CDLL, list[Kernel | None]]:
    kernels = [MAKE[make](g, weights_of(g, 0.1, lanes), lanes) for g in SHAPES.values()]
    return build(text_of(kernels), *AVX2, optimize, f"-DVL={lanes}"), kernels


def error(
    code: ctypes.CDLL, name: str, g: Geometry, kernel: Kernel, weights: np.ndarray, front: bool,
    cuts: Sequence[float] = (0.4,),
) -> float:  # fmt: skip
    """The largest, by what rounding may make of so many terms. Items are computed in ranges, the last first."""
    rng, channels = np.random.default_rng(1), g.groups * g.oc
    x = rng.standard_normal((g.n, g.ih, g.iw, g.groups * g.ic), np.float32)
    bias = rng.standard_normal(channels + 16, np.float32)
    residual = rng.standard_normal((g.n, g.oh, g.ow, channels), np.float32)
    block = kernel.packed()
    block = np.pad(block, (0, -len(block) % 4)).view(np.float32)
    guarded = Guarded(front)
    missing = np.full(residual.shape, np.nan, np.float32)
    arrays = [guarded.array(values) for values in (x, block, missing, bias, residual)]
    scratch = guarded.array(np.full(-(-kernel.scratch // 4) + 1, np.nan, np.float32))
    pointers = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
    edges = sorted({0, kernel.items, *(round(share * kernel.items) for share in cuts)}, reverse=True)
    for end, begin in pairwise(edges):
        getattr(code, name)(pointers, ctypes.c_void_p(scratch.ctypes.data), ctypes.c_long(begin), ctypes.c_long(end))
    wanted = np.maximum(convolved(x, weights, g) + bias[:channels] + residual, 0)
    return float(np.max(np.abs(arrays[2] - wanted))) / (3e-7 * g.ic * g.kh * g.kw + 1e-5)


@needs.avx2
@pytest.mark.parametrize("front", [False, True], ids=["guard behind", "guard before"])
@pytest.mark.parametrize("build", first_quick(BUILDS))
@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("case", SHAPES)
def test_a_sparse_layer_sums_as_numpy(case: str, make: str, build: str, front: bool) -> None:
    lanes, optimize = BUILDS[build]
    code, kernels = compiled(make, lanes, optimize)
    place, g = [*SHAPES].index(case), SHAPES[case]
    kernel = kernels[place]
    if kernel is None:
        assert make == "groups"
        assert (np.diff(offsets(g.flat())) <= 0).any()
        return
    assert error(code, f"conv_{place}", g, kernel, weights_of(g, 0.1, lanes), front) < 1


@needs.avx2
@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(st.tuples(geometries(), st.sampled_from([*MAKE])), min_size=6, max_size=6),
    st.sampled_from([4, 8, 16]),
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    st.sampled_from([1, 3, 8, 16, 32]),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_any_geometry_density_and_width(
    cases: list[tuple[Geometry, str]], lanes: int, density: float, width: int, cuts: list[float]
) -> None:
    values = [weights_of(g, density, width, seed=i) for i, (g, _) in enumerate(cases)]
    kernels = [MAKE[make](g, w, lanes) for (g, make), w in zip(cases, values, strict=True)]
    code = build(text_of(kernels), *AVX2, "-O0", f"-DVL={lanes}")
    for i, ((g, _), kernel, w) in enumerate(zip(cases, kernels, values, strict=True)):
        if kernel is not None:
            assert error(code, f"conv_{i}", g, kernel, w, i % 2 == 1, cuts) < 1


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("values", [0.0, 1.0], ids=["empty", "full"])
def test_density_counts_what_is_stored(make: str, values: float) -> None:
    g = conv(5, 11, (6, 6), (3, 3), pads=(1, 1, 1, 1))
    kernel = MAKE[make](g, np.full((11, 5, 3, 3), values, np.float32), 8)
    assert kernel is not None
    assert kernel.density == pytest.approx(values)


@pytest.mark.parametrize("lanes", [8, 16])
def test_a_denser_layer_takes_longer(lanes: int) -> None:
    g = conv(64, 64, (28, 28), (3, 3), pads=(1, 1, 1, 1))
    for make in MAKE.values():
        cycles = [kernel.cycles for d in (0.05, 0.2, 0.8) if (kernel := make(g, weights_of(g, d, 16), lanes))]
        assert cycles == sorted(cycles)
        assert cycles[0] < cycles[-1] / 1.5


@pytest.mark.parametrize(
    ("lanes", "flags"), [(8, AVX2), pytest.param(16, AVX512, marks=pytest.mark.slow)], ids=["avx2", "avx512"]
)
def test_kernels_compile_without_warnings(lanes: int, flags: Sequence[str]) -> None:
    chosen = [SHAPES[name] for name in ("1×1", "3×3, stride 2", "groups of channels")]
    kernels: list[Kernel | None] = [make(g, weights_of(g, 0.1, lanes), lanes) for make in MAKE.values() for g in chosen]
    build(text_of(kernels), *flags, "-O2", f"-DVL={lanes}")
