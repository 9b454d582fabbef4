"""Dense convolutions and matrix products: sums as numpy's for every geometry, and no memory touched beyond the arrays.

Every array lies at the edge of a page that must not be touched, once behind it and once before it.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pruneir.backends.x86.conv import conv_source
from pruneir.backends.x86.cpu import features
from pruneir.backends.x86.packing import packed
from pruneir.backends.x86.tiling import Geometry, tiling

avx2 = pytest.mark.skipif(not {"avx2", "fma"} <= features(), reason="needs a processor with AVX2 and FMA")

RUNTIME = Path(__file__).parents[2] / "backends" / "x86" / "runtime"
FLAGS = (
    "-std=gnu11 -ffp-contract=fast -fno-math-errno -fno-trapping-math -fPIC -shared -Wall -Wextra -Werror -Wno-psabi"
)
AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq")
LANES = (4, 8, 16)
"""Only 8 are as the processor has them, and worth the time to optimize; others are made of its registers."""


def conv(
    ic: int, oc: int, size: tuple[int, int], k: tuple[int, int] = (1, 1), stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0), dilation: tuple[int, int] = (1, 1), n: int = 1,
) -> Geometry:  # fmt: skip
    """`pads` are above, left, below, right."""
    oh, ow = ((size[i] + pads[i] + pads[i + 2] - (k[i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in (0, 1))
    return Geometry(n, *size, ic, oh, ow, oc, *k, *stride, *dilation, *pads[:2])


SAME, TWO = (1, 1, 1, 1), (2, 2)
CASES = {
    "3×3": conv(16, 32, (14, 14), (3, 3), pads=SAME),
    "3×3, odd": conv(37, 91, (9, 11), (3, 3), pads=SAME),
    "3×3, few filters": conv(5, 3, (8, 8), (3, 3), pads=SAME),
    "3×3, valid": conv(8, 24, (9, 8), (3, 3)),
    "3×3, stride 2": conv(19, 40, (15, 14), (3, 3), TWO, SAME),
    "3×3, stride 2, padded behind": conv(12, 16, (14, 14), (3, 3), TWO, (0, 0, 1, 1)),
    "3×3, dilated": conv(33, 17, (13, 12), (3, 3), (1, 1), (2, 3, 2, 3), (2, 3)),
    "3×3, dilated beyond the image": conv(6, 9, (5, 4), (3, 3), (1, 1), (6, 6, 6, 6), (6, 6)),
    "3×3 on one point": conv(20, 33, (1, 1), (3, 3), pads=SAME),
    "3×3 on small images": conv(9, 20, (4, 3), (3, 3), pads=SAME, n=5),
    "more padding than image": conv(7, 10, (2, 3), (3, 3), pads=(4, 5, 3, 4)),
    "stem 7×7": conv(3, 64, (30, 32), (7, 7), TWO, (3, 3, 3, 3)),
    "stem 3×3": conv(3, 24, (20, 21), (3, 3), pads=SAME),
    "stem 3×3, one channel": conv(1, 8, (12, 12), (3, 3), TWO, SAME),
    "stem, narrow": conv(3, 8, (20, 2), (3, 5), pads=(1, 2, 1, 2)),
    "stem, two images": conv(4, 20, (8, 9), (5, 5), pads=(2, 2, 2, 2), n=2),
    "1-D, across": conv(8, 16, (1, 100), (1, 16), (1, 4), (0, 7, 0, 8)),
    "1-D, down": conv(8, 16, (100, 1), (16, 1), (4, 1), (7, 0, 8, 0)),
    "1-D, dilated": conv(2, 5, (1, 40), (1, 3), (1, 1), (0, 4, 0, 4), (1, 4)),
    "5×1": conv(11, 25, (12, 7), (5, 1), pads=(2, 0, 2, 0)),
    "as large as the image": conv(10, 20, (3, 4), (3, 4), n=5),
    "as large as the padded image": conv(10, 20, (3, 4), (5, 4), pads=(1, 0, 1, 0)),
    "1×1": conv(64, 64, (7, 9)),
    "1×1, odd": conv(45, 73, (6, 5)),
    "1×1, one in, one out": conv(1, 1, (5, 7)),
    "1×1, stride 2": conv(24, 50, (9, 10), stride=TWO),
    "1×1, padded": conv(10, 12, (4, 5), pads=(1, 2, 0, 1)),
    "1×1, batch": conv(12, 30, (3, 3), n=4),
    "more weights than the first cache holds": conv(500, 40, (5, 5)),
    "more weights than the second": conv(300, 100, (6, 6), (3, 3), pads=SAME),
    "dense, one row": conv(300, 137, (1, 1)),
    "dense, few rows": conv(129, 70, (1, 3)),
    "dense, many rows": conv(65, 40, (1, 50)),
}  # fmt: skip

FINISH = """
INLINE vf {name}_finish(vf sum, void *const *p, long point, long filter, int lanes) {{
    sum += vf_load((const float *)p[3] + filter);
    return vf_max(sum + vf_load_n((const float *)p[4] + point * {channels} + filter, lanes), vf_set(0));
}}
"""
"""Adds an operand of the filter and one of the place, then takes what is positive."""


def kernels(geometries: Sequence[Geometry], lanes: int) -> str:
    """Each as `conv_<i>`."""
    text = ""
    for i, geometry in enumerate(geometries):
        finish = FINISH.format(name=f"conv_{i}", channels=geometry.oc)
        text += conv_source(f"conv_{i}", geometry, tiling(geometry, lanes), finish)
    return text


def build(text: str, *flags: str) -> ctypes.CDLL:
    with TemporaryDirectory(prefix="pruneir-") as folder:
        (Path(folder) / "all.c").write_text('#include "tile.h"\n' + text)
        command = ["cc", *FLAGS.split(), *flags, f"-I{RUNTIME}", "all.c", "-o", "all.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return ctypes.CDLL(str(Path(folder) / "all.so"))


@cache
def compiled(lanes: int) -> ctypes.CDLL:
    optimize = "-O3" if lanes == 8 else "-O0"
    return build(kernels([*CASES.values()], lanes), *AVX2, optimize, f"-DVL={lanes}")


def correlated(x: np.ndarray, weights: np.ndarray, g: Geometry) -> np.ndarray:
    """What a convolution is, in double precision. x is NHWC, weights OIHW."""
    below = max(0, (g.oh - 1) * g.sh + (g.kh - 1) * g.dh + 1 - g.ih - g.pt)
    right = max(0, (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1 - g.iw - g.pl)
    image = np.pad(x.astype(float), ((0, 0), (g.pt, below), (g.pl, right), (0, 0)))
    y = np.zeros((g.n, g.oh, g.ow, g.oc))
    for kh in range(g.kh):
        for kw in range(g.kw):
            rows = slice(kh * g.dh, kh * g.dh + (g.oh - 1) * g.sh + 1, g.sh)
            columns = slice(kw * g.dw, kw * g.dw + (g.ow - 1) * g.sw + 1, g.sw)
            y += image[:, rows, columns] @ weights[:, :, kh, kw].T.astype(float)
    return y


class Guarded:
    """Arrays whose last byte lies before a page that must not be touched; or, in `front`, whose first lies behind one."""

    def __init__(self, front: bool) -> None:
        self.front = front

    def array(self, values: np.ndarray) -> np.ndarray:
        page = mmap.PAGESIZE
        room = -(-values.nbytes // page) * page
        pages = mmap.mmap(-1, room + page)
        array = np.frombuffer(pages, np.float32, values.size, page if self.front else room - values.nbytes)
        array[...] = values.ravel()
        guard = np.frombuffer(pages, np.uint8).ctypes.data + (0 if self.front else room)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
        return array.reshape(values.shape)


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


@avx2
@pytest.mark.parametrize("front", [False, True], ids=["guard behind", "guard before"])
@pytest.mark.parametrize("lanes", LANES[1:])
@pytest.mark.parametrize("case", CASES)
def test_a_convolution_sums_as_numpy(case: str, lanes: int, front: bool) -> None:
    name = f"conv_{[*CASES].index(case)}"
    assert error(compiled(lanes), name, CASES[case], lanes, front) < 1


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any that has an output, even if no tap touches the image."""
    k, stride, dilation = ((draw(st.integers(1, most)), draw(st.integers(1, most))) for most in (5, 3, 3))
    pads = tuple(draw(st.integers(0, 6)) for _ in range(4))
    spans = [(k[i] - 1) * dilation[i] + 1 - pads[i] - pads[i + 2] for i in (0, 1)]
    size = (
        draw(st.integers(max(1, spans[0]), max(1, spans[0]) + 18)),
        draw(st.integers(max(1, spans[1]), max(1, spans[1]) + 18)),
    )
    ic, oc = draw(st.integers(1, 50)), draw(st.integers(1, 80))
    return conv(ic, oc, size, k, stride, (pads[0], pads[1], pads[2], pads[3]), dilation, draw(st.integers(1, 3)))


@avx2
@settings(
    max_examples=3,
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
