"""Kernels of windows, means and resizes, and elementary functions: what ONNX Runtime computes, and no memory beyond.

Every array lies at the edge of a page that must not be touched, once behind it and once before it.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruneir.backends.x86.cpu import AVX512
from pruneir.backends.x86.resizing import Axis, taps
from pruneir.errors import PruneirError
from support import needs
from support.quick import first_quick
from support.x86_tasks import Task, kernels, library, task

pytestmark = needs.avx2

LANES = (8, 16)
BUILDS = {
    "8 lanes": (8, "-O0"),
    "8 lanes, optimized": (8, "-O3"),
    "16 lanes, optimized": (16, "-O1"),
}
"""Of 16 floats in a vector the compiler makes two registers for AVX2, which takes it long."""

TOLERANCE = 2e-6
"""Largest error, as a share of the largest output."""

DEPTHWISE = {
    "one channel": "x[1,1,7,9] -> y { y = Conv(x, w[1,1,3,3], group=1) }",
    "whole vectors": "x[1,32,9,14] -> y { y = Conv(x, w[32,1,3,3], group=32, pads=[1,1,1,1]) }",
    "odd channels": "x[1,37,9,13] -> y { y = Conv(x, w[37,1,3,3], group=37, pads=[1,1,1,1]) }",
    "blocks of channels": "x[1,91,6,7] -> y { y = Conv(x, w[91,1,3,3], group=91, pads=[1,1,1,1]) }",
    "blocks, exactly": "x[1,128,5,7] -> y { y = Conv(x, w[128,1,3,3], group=128, pads=[1,1,1,1]) }",
    "too wide for blocks": "x[1,91,2,120] -> y { y = Conv(x, w[91,1,3,3], group=91, pads=[1,1,1,1]) }",
    "strided": "x[1,13,14,14] -> y { y = Conv(x, w[13,1,3,3], group=13, strides=[2,2], pads=[1,1,1,1]) }",
    "strided as TensorFlow": "x[1,12,14,14] -> y { y = Conv(x, w[12,1,3,3], group=12, strides=[2,2], pads=[0,0,1,1]) }",
    "strided unevenly": "x[1,5,12,31] -> y { y = Conv(x, w[5,1,3,3], group=5, strides=[3,2], pads=[1,0,0,1]) }",
    "stride beyond the kernel": "x[1,9,12,23] -> y { y = Conv(x, w[9,1,2,2], group=9, strides=[3,4]) }",
    "5×5": "x[1,20,14,14] -> y { y = Conv(x, w[20,1,5,5], group=20, pads=[2,2,2,2]) }",
    "5×5, strided": "x[1,20,15,13] -> y { y = Conv(x, w[20,1,5,5], group=20, strides=[2,2], pads=[2,2,2,2]) }",
    "7×7": "x[1,11,8,16] -> y { y = Conv(x, w[11,1,7,7], group=11, pads=[3,3,3,3]) }",
    "7×7 on little": "x[1,11,3,2] -> y { y = Conv(x, w[11,1,7,7], group=11, pads=[3,3,3,3]) }",
    "11×11": "x[1,8,12,12] -> y { y = Conv(x, w[8,1,11,11], group=8, pads=[5,5,5,5]) }",
    "dilated": "x[1,10,15,17] -> y { y = Conv(x, w[10,1,3,3], group=10, dilations=[2,3], pads=[2,3,2,3]) }",
    "dilated beyond the image": "x[1,8,5,6] -> y { y = Conv(x, w[8,1,3,3], group=8, dilations=[6,6], pads=[6,6,6,6]) }",
    "dilated and strided": "x[1,9,19,20] -> y { y = Conv(x, w[9,1,3,3], group=9, dilations=[2,2], strides=[2,3], pads=[2,2,2,2]) }",
    "more padding than a tile": "x[1,8,3,4] -> y { y = Conv(x, w[8,1,3,3], group=8, pads=[9,20,9,20]) }",
    "one row, one column": "x[1,17,1,1] -> y { y = Conv(x, w[17,1,3,3], group=17, pads=[1,1,1,1]) }",
    "1×1": "x[1,19,4,5] -> y { y = Conv(x, w[19,1,1,1], group=19) }",
    "oblong": "x[1,16,9,8] -> y { y = Conv(x, w[16,1,1,5], group=16, pads=[0,2,0,2]) }",
    "batch": "x[3,21,6,7] -> y { y = Conv(x, w[21,1,3,3], group=21, pads=[1,1,1,1]) }",
    "two filters a channel": "x[2,7,6,7] -> y { y = Conv(x, w[14,1,3,3], group=7, pads=[1,1,1,1]) }",
    "nine filters a channel": "x[1,2,6,7] -> y { y = Conv(x, w[18,1,3,3], group=2, strides=[2,2]) }",
}

POOLS = {
    "max 3×3": "x[1,16,13,13] -> y { y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]) }",
    "max 2×2": "x[2,21,8,14] -> y { y = MaxPool(x, kernel_shape=[2,2], strides=[2,2]) }",
    "max 5×5": "x[1,37,7,11] -> y { y = MaxPool(x, kernel_shape=[5,5], pads=[2,2,2,2]) }",
    "max 13×13": "x[1,8,10,10] -> y { y = MaxPool(x, kernel_shape=[13,13], pads=[6,6,6,6]) }",
    "max 19×3": "x[1,9,20,6] -> y { y = MaxPool(x, kernel_shape=[19,3], pads=[2,1,2,1]) }",
    "max ceil": "x[1,10,12,12] -> y { y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], ceil_mode=1) }",
    "max dilated": "x[1,9,11,12] -> y { y = MaxPool(x, kernel_shape=[3,2], dilations=[2,3], pads=[1,1,0,1]) }",
    "max of 100 channels": "x[1,100,5,6] -> y { y = MaxPool(x, kernel_shape=[2,2], strides=[1,2]) }",
    "mean 3×3": "x[1,16,9,9] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]) }",
    "mean 3×3, padding counted": "x[2,13,9,9] -> y { y = AveragePool(x, kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1) }",
    "mean 2×3, uneven": "x[1,13,9,10] -> y { y = AveragePool(x, kernel_shape=[2,3], strides=[1,2], pads=[1,0,0,2]) }",
    "mean ceil": "x[1,13,8,8] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], ceil_mode=1) }",
    "mean ceil, padding counted": "x[1,13,8,8] -> y { y = AveragePool(x, kernel_shape=[3,3], strides=[3,3], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1) }",
    "mean 7×7": "x[1,24,7,7] -> y { y = AveragePool(x, kernel_shape=[7,7]) }",
}

GLOBALS = {
    "mean of 7×7": "x[1,192,7,7] -> y { y = GlobalAveragePool(x) }",
    "mean of 91 channels": "x[3,91,5,3] -> y { y = GlobalAveragePool(x) }",
    "mean of 5 channels": "x[2,5,9,9] -> y { y = GlobalAveragePool(x) }",
    "mean of many": "x[1,64,56,56] -> y { y = GlobalAveragePool(x) }",
    "max": "x[2,77,9,8] -> y { y = GlobalMaxPool(x) }",
}

RESIZES = {
    "doubled": 'x[1,21,5,6] -> y { y = Resize(x, _, {1.0,1.0,2.0,2.0}, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor") }',
    "tripled and doubled": 'x[2,8,3,4] -> y { y = Resize(x, _, {1.0,1.0,3.0,2.0}, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor") }',
    "nearest": 'x[1,9,5,7] -> y { y = Resize(x, _, {1.0,1.0,1.6,0.7}, mode="nearest") }',
    "nearest, preferring the later": 'x[1,9,6,8] -> y { y = Resize(x, _, {1.0,1.0,0.5,0.5}, mode="nearest", nearest_mode="round_prefer_ceil") }',
    "nearest, from above": 'x[1,9,6,8] -> y { y = Resize(x, _, {1.0,1.0,1.5,2.5}, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="ceil") }',
    "linear": 'x[1,21,5,6] -> y { y = Resize(x, _, {1.0,1.0,2.0,2.0}, mode="linear") }',
    "linear, fewer": 'x[2,8,9,10] -> y { y = Resize(x, _, {1.0,1.0,0.6,0.35}, mode="linear") }',
    "linear, corners": 'x[1,16,5,6] -> y { y = Resize(x, _, _, {1,16,13,4}, mode="linear", coordinate_transformation_mode="align_corners") }',
    "linear, asymmetric": 'x[1,37,5,6] -> y { y = Resize(x, _, {1.0,1.0,3.0,2.0}, mode="linear", coordinate_transformation_mode="asymmetric") }',
    "linear, to one": 'x[1,8,5,6] -> y { y = Resize(x, _, _, {1,8,1,1}, mode="linear", coordinate_transformation_mode="pytorch_half_pixel") }',
    "linear, symmetric": 'x[1,8,5,6] -> y { y = Resize(x, _, {1.0,1.0,1.3,2.3}, mode="linear", coordinate_transformation_mode="half_pixel_symmetric") }',
}  # fmt: skip

CASES = {**DEPTHWISE, **POOLS, **GLOBALS, **RESIZES}


@cache
def tasks(lanes: int) -> Mapping[str, Task]:
    return {case: task(text, lanes) for case, text in CASES.items()}


@cache
def compiled(lanes: int, optimize: str) -> ctypes.CDLL:
    return kernels([*tasks(lanes).values()], lanes, optimize)


class Guarded:
    """Arrays whose last byte lies before a page that must not be touched; or, in `front`, whose first lies behind one."""

    def __init__(self, front: bool) -> None:
        self.front = front
        self.pages: list[mmap.mmap] = []

    def array(self, values: np.ndarray) -> np.ndarray:
        page = mmap.PAGESIZE
        room = -(-values.nbytes // page) * page
        pages = mmap.mmap(-1, room + page)
        self.pages.append(pages)
        start = page if self.front else room - values.nbytes
        array = np.frombuffer(pages, values.dtype, values.size, start).reshape(values.shape)
        array[...] = values
        guard = np.frombuffer(pages, np.uint8).ctypes.data + (0 if self.front else room)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
        return array


def assert_right(kernel: Callable[..., None], task: Task, lanes: int, front: bool) -> None:
    """The kernel writes what it should, and touches nothing around its arrays."""
    rng, guarded = np.random.default_rng(2), Guarded(front)
    padded = -(-task.channels // lanes) * lanes
    operands = [rng.standard_normal(shape, np.float32) for shape in ((padded,), task.wanted.shape)]
    wanted = np.maximum(task.wanted + operands[0][: task.channels] + operands[1], 0) if task.finished else task.wanted
    arrays = [guarded.array(value) for value in (*task.inputs, np.full(wanted.shape, np.nan, np.float32), *operands)]
    pointers = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
    items = task.kernel.items
    for begin, end in ((items // 3, items), (0, items // 3)):  # items do not depend on each other
        kernel(pointers, None, ctypes.c_long(begin), ctypes.c_long(end))
    error = np.abs(arrays[len(task.inputs)] - wanted)
    assert np.max(error) <= TOLERANCE * max(1.0, float(np.max(np.abs(wanted))))


@pytest.mark.parametrize("front", [False, True], ids=["guard behind", "guard before"])
@pytest.mark.parametrize("build", first_quick(BUILDS))
@pytest.mark.parametrize("case", CASES)
def test_a_kernel_computes_what_onnx_runtime_does(case: str, build: str, front: bool) -> None:
    lanes, optimize = BUILDS[build]
    kernel = getattr(compiled(lanes, optimize), f"kernel_{[*CASES].index(case)}")
    assert_right(kernel, tasks(lanes)[case], lanes, front)


def test_they_compile_for_avx512() -> None:
    few = [tasks(16)[case] for case in ("odd channels", "max ceil", "mean 3×3", "mean of 91 channels", "linear")]
    assert kernels(few, 16, "-O1", *AVX512.flags)


@st.composite
def windows(draw: st.DrawFn) -> str:
    """A depthwise convolution or a pool whose every window touches the image."""
    kernel, stride, dilation = (
        [draw(st.integers(1, most)) for _ in range(2)]
        for most in draw(st.sampled_from([(3, 3, 1), (5, 2, 2), (7, 1, 1)]))
    )
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [draw(st.integers(span, span + 20)) for span in spans]
    pads = [draw(st.integers(0, k // 2)) for k in kernel * 2]
    channels = draw(st.integers(1, 70))
    window = f"strides={stride}, dilations={dilation}, pads={pads}"
    x = f"x[{draw(st.integers(1, 2))},{channels},{size[0]},{size[1]}]"
    if draw(st.booleans()):
        copies = draw(st.sampled_from([1, 1, 1, 2]))
        weights = f"w[{channels * copies},1,{kernel[0]},{kernel[1]}]"
        return f"{x} -> y {{ y = Conv(x, {weights}, group={channels}, {window}) }}"
    kinds = ["MaxPool(x", *(["AveragePool(x, count_include_pad=1", "AveragePool(x"] if dilation == [1, 1] else [])]
    kind = draw(st.sampled_from(kinds))
    window = window if kind == kinds[0] else f"strides={stride}, pads={pads}"
    return f"{x} -> y {{ y = {kind}, kernel_shape={kernel}, {window}) }}"


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(windows(), min_size=6, max_size=6), st.sampled_from(LANES))
def test_windows_of_any_shape(texts: list[str], lanes: int) -> None:
    made = [task(text, lanes, finished=i % 2 == 0) for i, text in enumerate(texts)]
    code = kernels(made, lanes, "-O0")
    for i, each in enumerate(made):
        assert_right(getattr(code, f"kernel_{i}"), each, lanes, front=i % 4 < 2)


@pytest.mark.parametrize(("coordinates", "nearest"), [("tf_crop_and_resize", ""), ("half_pixel", "round")])
def test_an_unknown_mode_is_named(coordinates: str, nearest: str) -> None:
    with pytest.raises(PruneirError, match=nearest or coordinates):
        taps(Axis(4, 8, 2.0), coordinates, nearest)


FUNCTIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "sigmoid": lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))),
    "softplus": lambda x: np.logaddexp(0, x),
}
SPECIAL = [
    0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-45,
    -1e-45,
    1e-38,
    -1e-38,
    3.4e38,
    -3.4e38,
    88.72,
    88.73,
    -87.4,
    -103.9,
    1,
]


@cache
def functions(lanes: int) -> ctypes.CDLL:
    loop = "void over_{0}(const float *x, float *y, long n) {{ for (long i = 0; i < n; i += VL) vf_store(y + i, vf_{0}(vf_load(x + i))); }}"
    return library('#include "vmath.h"\n' + "\n".join(loop.format(name) for name in FUNCTIONS), lanes, "-O3")


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_function_is_exact_to_two_units_in_the_last_place(name: str, lanes: int) -> None:
    rng = np.random.default_rng(0)
    spread = np.exp(rng.uniform(-103, 88, 20000)) * rng.choice([-1, 1], 20000)
    x = np.concatenate([np.linspace(-110, 100, 30000), rng.normal(0, 2, 30000), spread, SPECIAL]).astype(np.float32)
    y = np.empty_like(x)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x, y)]
    getattr(functions(lanes), f"over_{name}")(*pointers, ctypes.c_long(x.size))
    exact = FUNCTIONS[name](x.astype(float))
    rounded = exact.astype(np.float32)
    special = ~np.isfinite(rounded) | (rounded == 0)
    assert np.array_equal(y[special], rounded[special], equal_nan=True)
    normal = ~special & (np.abs(exact) >= np.finfo(np.float32).tiny)
    assert np.max(np.abs(y[normal] / exact[normal] - 1)) <= 2e-7
    assert np.max(np.abs(y - exact)[~special & ~normal], initial=0) <= 1.5e-45
