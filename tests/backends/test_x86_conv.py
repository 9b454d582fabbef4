"""Dense convolutions and matrix products: sums as numpy's for every geometry, and no memory touched beyond the arrays.

Every array lies at the edge of a page that must not be touched, once behind it and once before it.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pruneir.backends.x86.conv import conv_source
from pruneir.backends.x86.packing import packed
from pruneir.backends.x86.tiling import Geometry, tiling
from support import needs
from support.quick import first_quick
from support.x86_convolutions import (
    AVX2,
    AVX512,
    CASES,
    FINISH,
    FLAGS,
    RUNTIME,
    SAME,
    Guarded,
    build,
    conv,
    correlated,
    geometries,
)  # fmt: skip

LANES = (4, 8, 16)
BUILDS = {
    "8 lanes": (8, "-O0"),
    "8 lanes, optimized": (8, "-O3"),
    "16 lanes": (16, "-O0"),
}
"""Only 8 are as the processor has them, and worth the time to optimize; others are made of its registers."""


def kernels(geometries: Sequence[Geometry], lanes: int) -> str:
    """Each as `conv_<i>`."""
    text = ""
    for i, geometry in enumerate(geometries):
        finish = FINISH.format(name=f"conv_{i}", channels=geometry.oc)
        text += conv_source(f"conv_{i}", geometry, tiling(geometry, lanes), finish)
    return text


@cache
def compiled(lanes: int, optimize: str) -> ctypes.CDLL:
    return build(kernels([*CASES.values()], lanes), *AVX2, optimize, f"-DVL={lanes}")


def error(code: ctypes.CDLL, name: str, g: Geometry, lanes: int, front: bool, cuts: Sequence[float] = (0.4,)) -> float:
    """The largest, by what rounding may make of so many terms. Items are computed in ranges, the last first."""
    rng, cut = np.random.default_rng(0), tiling(g, lanes)
    x = rng.standard_normal((g.n, g.ih, g.iw, g.ic), np.float32)
    weights = rng.standard_normal((g.oc, g.ic, g.kh, g.kw), np.float32)
    bias = rng.standard_normal(-(-g.oc // lanes) * lanes, np.float32)
    residual = rng.standard_normal((g.n, g.oh, g.ow, g.oc), np.float32)
    guarded = Guarded(front)
    panels, missing = packed(weights, cut.vectors, lanes), np.full(residual.shape, np.nan, np.float32)
    arrays = [guarded.array(value) for value in (x, panels, missing, bias, residual)]
    pointers = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
    edges = sorted({0, cut.items, *(round(share * cut.items) for share in cuts)}, reverse=True)
    for end, begin in pairwise(edges):
        getattr(code, name)(pointers, None, ctypes.c_long(begin), ctypes.c_long(end))
    wanted = np.maximum(correlated(x, weights, g) + bias[: g.oc] + residual, 0)
    return float(np.max(np.abs(arrays[2] - wanted))) / (3e-7 * g.ic * g.kh * g.kw + 1e-5)


@needs.avx2
@pytest.mark.parametrize("front", [False, True], ids=["guard behind", "guard before"])
@pytest.mark.parametrize("build", first_quick(BUILDS))
@pytest.mark.parametrize("case", CASES)
def test_a_convolution_sums_as_numpy(case: str, build: str, front: bool) -> None:
    name, (lanes, optimize) = f"conv_{[*CASES].index(case)}", BUILDS[build]
    assert error(compiled(lanes, optimize), name, CASES[case], lanes, front) < 1


@needs.avx2
@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(geometries(), min_size=6, max_size=6),
    st.sampled_from(LANES),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_any_geometry_in_any_ranges(cases: list[Geometry], lanes: int, cuts: list[float]) -> None:
    code = build(kernels(cases, lanes), *AVX2, "-O0", f"-DVL={lanes}")
    for i, geometry in enumerate(cases):
        assert error(code, f"conv_{i}", geometry, lanes, i % 2 == 1, cuts) < 1


@given(geometries(), st.sampled_from(LANES))
def test_tiles_cover_each_point_once(g: Geometry, lanes: int) -> None:
    cut, flat = tiling(g, lanes), g.flat()
    assert flat.macs == g.macs
    seen = np.zeros((flat.oh, flat.ow), int)
    for part in cut.parts:
        seen[part.row : part.row + part.height, part.column : part.column + part.width] += 1
        size, larger, smaller = part.sizes
        assert larger * (size + 1) + smaller * size == (part.height if part.down else part.width)
        assert 0 < size + (larger > 0) <= cut.points
    assert (seen == 1).all()
    assert cut.images * flat.oh * flat.ow == g.points
    assert cut.panels * cut.vectors * lanes >= g.oc


def test_a_tiling_has_work_for_many_threads() -> None:
    layers = (conv(512, 512, (7, 7), (3, 3), pads=SAME), conv(64, 64, (56, 56)), conv(4096, 4096, (1, 1)))
    assert min(tiling(layer, lanes).items for layer in layers for lanes in (8, 16)) >= 32


def test_a_border_costs_nothing_where_its_taps_are_outside() -> None:
    parts = tiling(conv(512, 512, (7, 7), (3, 3), pads=SAME), 8).parts
    assert [(part.height, part.width, part.down) for part in parts[:2]] == [(1, 6, False), (6, 1, True)]


@pytest.mark.parametrize("shape", [(37, 5, 3, 2), (16, 8, 1, 1)])
def test_panels_hold_the_filters_in_order(shape: tuple[int, int, int, int]) -> None:
    weights = np.random.default_rng(0).standard_normal(shape, np.float32)
    panels = packed(weights, 2, 8)
    assert panels.shape == (-(-shape[0] // 16), *shape[2:], shape[1], 16)
    filters = panels.transpose(0, 4, 3, 1, 2).reshape(-1, *shape[1:])
    assert np.array_equal(filters[: shape[0]], weights)
    assert not filters[shape[0] :].any()


def test_a_matrix_is_packed_as_a_pointwise_convolution() -> None:
    weights = np.random.default_rng(0).standard_normal((37, 5, 1, 1), np.float32)
    assert np.array_equal(packed(weights[:, :, 0, 0].T, 3, 8), packed(weights, 3, 8))


@pytest.mark.parametrize(
    ("lanes", "flags", "register"), [(8, AVX2, "%ymm"), (16, AVX512, "%zmm")], ids=["avx2", "avx512"]
)
def test_sums_stay_in_registers(lanes: int, flags: Sequence[str], register: str) -> None:
    text = '#include "tile.h"\n' + kernels([CASES[case] for case in ("3×3", "1×1", "dense, one row")], lanes)
    command = ["cc", *FLAGS.split(), *flags, "-O3", f"-I{RUNTIME}", "-xc", "-", "-S", "-o", "-"]
    code = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    loops = [loop for loop in innermost(code) if loop.count("vfmadd231ps") > 1]
    assert len(loops) >= 5
    for loop in loops:
        # gcc may carry a sum in memory from one turn of four terms to the next, which their chain of sums hides.
        spilled = [line for line in loop.splitlines() if re.search(rf"{register}\d+, \d*\(%rsp", line)]
        assert len(spilled) <= loop.count("vfmadd231ps") / 20


def innermost(assembly: str) -> list[str]:
    """Loops without a label inside."""
    blocks = re.split(r"^(?=\.L\w+:)", assembly, flags=re.M)
    ends = (re.search(rf"\sj\w+\s+{re.escape(block.partition(':')[0])}$", block, re.M) for block in blocks)
    return [block[: end.end()] for block, end in zip(blocks, ends, strict=True) if end]
