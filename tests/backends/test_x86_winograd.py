"""Winograd's convolutions of the x86 backend against sums over taps in float64."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruneir.backends.x86.tiling import Geometry
from pruneir.backends.x86.winograd import Winograd, transformed, winograd, winograd_source, worthwhile
from support import needs

pytestmark = needs.avx2

RUNTIME = Path(__file__).parents[2] / "backends" / "x86" / "runtime"
FLAGS = "-std=gnu11 -mavx2 -mfma -ffp-contract=fast -fno-math-errno -fno-trapping-math -Wall -Wextra -Werror -Wno-psabi".split()
AVX512 = "-mavx512f -mavx512vl -mavx512bw -mavx512dq -mprefer-vector-width=512".split()
LANES = (4, 8, 16)
"""Only 8 are the processor's own; of 16 the compiler makes two registers."""
LIBC = ctypes.CDLL(None, use_errno=True)

FINISHES = {
    "sum": "(void)p, (void)point, (void)filter, (void)lanes; return sum;",
    "bias relu": "(void)point, (void)lanes; return vf_max(sum + vf_load((const float *)p[3] + filter), vf_set(0));",
    "bias residual relu": "sum += vf_load((const float *)p[3] + filter);"
    "return vf_max(sum + vf_load_n((const float *)p[4] + point * OC + filter, lanes), vf_set(0));",
}


def image(size: int, channels: int, filters: int, pad: int = 1, images: int = 1) -> Geometry:
    """A square image, padded on all sides."""
    out = size + 2 * pad - 2
    return Geometry(images, size, size, channels, out, out, filters, 3, 3, pt=pad, pl=pad)


SHAPES = {
    "whole tiles": image(8, 16, 32),
    "odd size": image(13, 8, 16),
    "one point": image(1, 8, 16),
    "below a tile": image(3, 5, 7),
    "wide": replace(image(5, 8, 16), iw=19, ow=19),
    "high": replace(image(5, 8, 16), ih=21, oh=21),
    "no padding": image(9, 8, 16, pad=0),
    "two rows of padding": image(6, 8, 16, pad=2),
    "padding below and right only": Geometry(1, 7, 7, 8, 7, 7, 16, 3, 3, pt=0, pl=0),
    "padding above and left only": Geometry(1, 7, 7, 8, 7, 7, 16, 3, 3, pt=2, pl=2),
    "padding of its own on each side": Geometry(1, 8, 10, 6, 8, 9, 11, 3, 3, pt=2, pl=0),
    "odd channels": image(10, 19, 37),
    "one channel, one filter": image(10, 1, 1),
    "blocks, groups and a last of each": image(30, 8, 75),
    "three images": image(7, 12, 20, images=3),
}


@dataclass(frozen=True)
class Case:
    """A kernel to build and what it should compute."""

    geometry: Geometry
    m: int
    lanes: int
    finish: str = "bias residual relu"

    @property
    def cut(self) -> Winograd:
        """How it is computed."""
        return winograd(self.geometry, self.lanes, self.m)


@dataclass(frozen=True)
class Library:
    """Compiled kernels by case."""

    file: Path
    names: dict[Case, str]

    def run(self, case: Case, arrays: list[np.ndarray], scratch: np.ndarray, begin: int, end: int) -> None:
        """Items begin … end - 1."""
        kernel = getattr(ctypes.CDLL(str(self.file)), self.names[case])
        pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        kernel(pointers, ctypes.c_void_p(scratch.ctypes.data), ctypes.c_long(begin), ctypes.c_long(end))


def build(cases: list[Case], folder: Path, *flags: str) -> Library:
    """One library of cases, which have the same number of lanes."""
    names = {case: f"kernel_{place}" for place, case in enumerate(cases)}
    texts = [f"#define VL {cases[0].lanes}", '#include "simd.h"']
    for case, name in names.items():
        finish = FINISHES[case.finish].replace("OC", str(case.geometry.oc))
        head = f"INLINE vf {name}_finish(vf sum, void *const *p, long point, long filter, int lanes) {{ {finish} }}"
        texts.append(winograd_source(name, case.geometry, case.cut, head))
    (folder / "kernels.c").write_text("\n".join(texts))
    command = ["cc", *FLAGS, *flags, "-I", str(RUNTIME), "-shared", "-fPIC", "kernels.c", "-o", "kernels.so"]
    subprocess.run(command, cwd=folder, check=True)
    return Library(folder / "kernels.so", names)


@pytest.fixture(scope="module", params=[4, 8, pytest.param(16, marks=pytest.mark.slow)], ids=lambda n: f"{n} lanes")
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """All shapes and sums of one number of lanes."""
    cases = [Case(shape, m, request.param) for shape in SHAPES.values() for m in (2, 4)]
    cases += [Case(SHAPES["odd channels"], m, request.param, finish) for finish in FINISHES for m in (2, 4)]
    return build(list(dict.fromkeys(cases)), tmp_path_factory.mktemp("kernels"), "-O0")


def inputs(case: Case) -> list[np.ndarray]:
    """x, weights [OC, IC, 3, 3], bias and residual."""
    g, random = case.geometry, np.random.default_rng(0)
    shapes = [(g.n, g.ih, g.iw, g.ic), (g.oc, g.ic, 3, 3), (g.oc,), (g.n, g.oh, g.ow, g.oc)]
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def pointers(case: Case) -> list[np.ndarray]:
    """What a kernel gets: x, transformed weights, y, padded bias, residual."""
    x, weights, bias, residual = inputs(case)
    y = np.full_like(residual, np.nan)
    return [x, transformed(weights, case.cut), y, np.pad(bias, (0, -bias.size % case.lanes)), residual]


def scratch(case: Case) -> np.ndarray:
    """Private memory with nothing in it that may be read."""
    room = np.full(case.cut.scratch // 4 + 16, np.nan, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + case.cut.scratch // 4]


def expected(case: Case) -> np.ndarray:
    """The sum over taps, in float64."""
    g = case.geometry
    x, weights, bias, residual = (array.astype(np.float64) for array in inputs(case))
    below, right = max(0, g.oh + 2 - g.pt - g.ih), max(0, g.ow + 2 - g.pl - g.iw)
    padded = np.pad(x, [(0, 0), (g.pt, below), (g.pl, right), (0, 0)])
    y = sum(
        padded[:, i : i + g.oh, j : j + g.ow] @ weights[:, :, i, j].T for i in range(3) for j in range(3)
    ) + np.zeros_like(residual)
    y += bias if "bias" in case.finish else 0
    y += residual if "residual" in case.finish else 0
    return np.maximum(y, 0) if "relu" in case.finish else y


def computed(library: Library, case: Case, *cuts: int) -> np.ndarray:
    """y of the kernel, whose items are run in ranges between cuts, the last range first."""
    arrays, bounds = pointers(case), [0, *cuts, case.cut.items]
    for begin, end in reversed(list(pairwise(bounds))):
        library.run(case, arrays, scratch(case), begin, end)
    return arrays[2]


def check(y: np.ndarray, case: Case) -> None:
    """Errors of 5e-7 of the largest output for F(2), 2e-6 for F(4), are what rounding makes."""
    reference = expected(case)
    np.testing.assert_allclose(y, reference, rtol=0, atol={2: 1e-6, 4: 4e-6}[case.m] * np.abs(reference).max())


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_sum_over_taps(library: Library, shape: str, m: int) -> None:
    case = Case(SHAPES[shape], m, next(iter(library.names)).lanes)
    check(computed(library, case), case)


def test_equals_it_as_it_ships(tmp_path: Path) -> None:
    cases = [Case(SHAPES[shape], m, 8) for shape in ("odd channels", "three images") for m in (2, 4)]
    optimized = build(cases, tmp_path, "-O3")
    for case in cases:
        check(computed(optimized, case), case)


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("finish", FINISHES)
def test_finish_gets_each_vector_its_point_and_its_filter(library: Library, finish: str, m: int) -> None:
    case = Case(SHAPES["odd channels"], m, next(iter(library.names)).lanes, finish)
    check(computed(library, case), case)


@pytest.mark.parametrize("m", [2, 4])
def test_items_are_independent(library: Library, m: int) -> None:
    case = Case(SHAPES["blocks, groups and a last of each"], m, next(iter(library.names)).lanes)
    items = case.cut.items
    whole = computed(library, case)
    assert items > 2
    for cuts in ((1,), (items // 2,), tuple(range(1, items))):
        np.testing.assert_array_equal(computed(library, case, *cuts), whole)


@pytest.mark.parametrize("at_end", [False, True], ids=["begins at a guard", "ends at a guard"])
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("shape", ["odd channels", "below a tile", "padding of its own on each side", "three images"])
def test_touches_nothing_around_its_arrays(library: Library, shape: str, m: int, at_end: bool) -> None:
    case = Case(SHAPES[shape], m, next(iter(library.names)).lanes)
    arrays = [guarded(array, at_end) for array in (*pointers(case), scratch(case))]
    child = os.fork()
    if not child:
        library.run(case, arrays[:-1], arrays[-1], 0, case.cut.items)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def guarded(array: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy between pages that nobody may touch, at the end or the beginning of its own."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    pages = np.frombuffer(mmap.mmap(-1, size + 2 * page), np.uint8)
    for guard in (0, page + size):
        assert LIBC.mprotect(ctypes.c_void_p(pages.ctypes.data + guard), ctypes.c_size_t(page), 0) == 0
    start = page + (size - array.nbytes if at_end else 0)
    copy = pages[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@given(
    sizes=st.tuples(*[st.integers(1, 11)] * 2),
    channels=st.integers(1, 20),
    filters=st.integers(1, 40),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    images=st.integers(1, 2),
    m=st.sampled_from((2, 4)),
    lanes=st.sampled_from(LANES),
)
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape(
    tmp_path: Path,
    sizes: tuple[int, int],
    channels: int,
    filters: int,
    pads: tuple[int, int, int, int],
    images: int,
    m: int,
    lanes: int,
) -> None:
    top, left, bottom, right = pads
    oh, ow = max(1, sizes[0] + top + bottom - 2), max(1, sizes[1] + left + right - 2)
    case = Case(Geometry(images, *sizes, channels, oh, ow, filters, 3, 3, pt=top, pl=left), m, lanes)
    folder = tmp_path / str(abs(hash(case)))
    folder.mkdir(exist_ok=True)
    check(computed(build([case], folder, "-O0"), case), case)


def test_builds_for_avx512(tmp_path: Path) -> None:
    cases = [Case(image(14, 40, 50), m, 16) for m in (2, 4)]
    file = build(cases, tmp_path, "-O3", *AVX512).file
    listing = subprocess.run(["objdump", "-d", str(file)], capture_output=True, text=True, check=True).stdout
    assert any("vfmadd231ps" in line and "%zmm" in line for line in listing.splitlines())


RULES = {
    "stride 2": (replace(image(56, 64, 64), sh=2, sw=2, oh=28, ow=28), None),
    "dilation 2": (replace(image(56, 64, 64), dh=2, dw=2), None),
    "1×1": (replace(image(56, 64, 64), kh=1, kw=1, pt=0, pl=0), None),
    "few channels": (image(224, 3, 64), None),
    "large image": (image(224, 64, 64), 4),
    "many channels": (image(14, 512, 512), 4),
    "odd channels": (image(56, 45, 83), 4),
    "many weights for few points": (image(7, 512, 512), 2),
    "hardly any points": (image(3, 512, 512), None),
}


@pytest.mark.parametrize(("geometry", "m"), RULES.values(), ids=RULES)
def test_worthwhile(geometry: Geometry, m: int | None) -> None:
    assert worthwhile(geometry, 8) == m
