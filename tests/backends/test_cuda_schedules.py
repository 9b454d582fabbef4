"""The schedules of `cuda` without a GPU: what kernels compute, and whether their threads race."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("tvm", reason="pip install 'pruneir[tvm]'")

import tvm
from tvm import relax, tirx

from pruneir.backends.cuda.build import pipeline
from pruneir.backends.cuda.lower import Lowered, lowered, target_of
from pruneir.backends.cuda.schedules import implicit_gemm
from pruneir.backends.cuda.schedules.tile import TILES, Tile, best
from pruneir.backends.lowering.importing import fused
from pruneir.graph import Graph, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds
from support.cuda_threads import Kernel, serial

pytestmark = pytest.mark.tvm
compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="kernels run by g++; apt install g++")

SM80 = target_of(80)
HOST = tvm.target.Target("llvm")
KERNELS = {
    "dense, odd channels, residual": (
        "implicit-gemm",
        "x[1,7,13,13], r[1,11,7,7] -> y { a = Conv(x, w[11,7,3,3], b[11], pads=[1,1,1,1], strides=[2,2]);"
        " s = Add(a, r); y = Relu(s) }",
    ),
    "stem": ("implicit-gemm", "x[1,3,19,19] -> y { y = Conv(x, w[8,3,7,7], b[8], pads=[3,3,3,3], strides=[2,2]) }"),
    "1x1, strided": (
        "implicit-gemm",
        "x[1,8,13,13] -> y { a = Conv(x, w[12,8,1,1], b[12], strides=[2,2]); y = Relu(a) }",
    ),
    "dilated, uneven pads": (
        "implicit-gemm",
        "x[2,5,12,9] -> y { y = Conv(x, w[6,5,3,2], dilations=[2,3], pads=[1,0,2,3]) }",
    ),
    "grouped": ("implicit-gemm", "x[1,10,9,9] -> y { y = Conv(x, w[14,5,3,3], group=2, pads=[1,1,1,1]) }"),
    "transposed": (
        "implicit-gemm",
        "x[1,6,5,5] -> y { y = ConvTranspose(x, w[6,9,3,3], strides=[2,2], pads=[1,1,1,1]) }",
    ),
    "1 dimension": ("implicit-gemm", "x[2,8,23] -> y { y = Conv(x, w[9,8,5], pads=[2,2]) }"),
    "3 dimensions": ("implicit-gemm", "x[1,3,6,7,8] -> y { y = Conv(x, w[5,3,3,3,3]) }"),
    "product of activations": ("implicit-gemm", "x[2,5,7,13], z[2,5,13,20] -> y { y = MatMul(x, z) }"),
    "product with weights": ("implicit-gemm", "x[6,40] -> y { a = MatMul(x, w[40,33]); y = Add(a, b[33]) }"),
    "depthwise": (
        "window",
        "x[1,7,13,13] -> y { a = Conv(x, w[7,1,3,3], b[7], group=7, pads=[1,1,1,1], strides=[2,2]); y = Relu(a) }",
    ),
    "depthwise, two filters a channel": (
        "window",
        "x[1,5,9,9] -> y { y = Conv(x, w[10,1,3,3], group=5, dilations=[2,2]) }",
    ),
    "float16": ("implicit-gemm", "x[1,5,9,9]:f16 -> y:f16 { y = Conv(x, w[9,5,3,3]:f16, b[9]:f16) }"),
    "float16, depthwise": ("window", "x[1,5,9,9]:f16 -> y:f16 { y = Conv(x, w[5,1,3,3]:f16, group=5) }"),
    "MaxPool": ("window", "x[1,5,9,9] -> y { y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]) }"),
    "GlobalAveragePool": ("dlight reduction", "x[1,9,7,7] -> y { y = GlobalAveragePool(x) }"),
    "Softmax": ("dlight general-reduction", "x[5,70] -> y { y = Softmax(x) }"),
    "one row": ("dlight reduction", "x[1,70] -> y { a = MatMul(x, w[70,33]); y = Add(a, b[33]) }"),
    "one pixel": ("dlight gemv", "x[1,24,1,1] -> y { y = Conv(x, w[30,24,1,1], b[30]) }"),
    "sums of one term": ("fallback", "x[1,1,5,5] -> y { a = Conv(x, w[3,1,1,1], b[3]); y = Relu(a) }"),
    "products of one term": ("fallback", "x[5,1] -> y { y = Gemm(x, w[1,4], b[4]) }"),
    "Transpose": ("fallback", "x[3,5,7] -> y { y = Transpose(x, perm=[2,0,1]) }"),
    "AveragePool": ("window", "x[1,5,9,9] -> y { y = AveragePool(x, kernel_shape=[2,3]) }"),
}
TENSOR_CORES = {
    "float16, on tensor cores": (
        "tensor-core",
        "x[1,8,9,8]:f16 -> y:f16 { a = Conv(x, w[70,8,3,3]:f16, b[70]:f16, pads=[1,1,1,1]); y = Relu(a) }",
    ),
    "float16, grouped, on tensor cores": (
        "tensor-core",
        "x[1,16,8,8]:f16 -> y:f16 { y = Conv(x, w[128,8,3,3]:f16, group=2, pads=[1,1,1,1]) }",
    ),
}
NETWORKS = {
    "classifier": (
        {"implicit-gemm", "window", "dlight reduction", "dlight general-reduction"},
        "x[1,7,13,13] -> y { a = Conv(x, w1[11,7,3,3], b[11], pads=[1,1,1,1], strides=[2,2]); s = Relu(a);"
        " d = Conv(s, w2[11,1,3,3], group=11); p = GlobalAveragePool(d); f = Flatten(p); h = Gemm(f, w3[11,300]);"
        " y = Softmax(h) }",
    ),
    "gate": (
        {"implicit-gemm", "dlight reduction", "dlight gemv"},
        "x[1,24,9,9] -> y { a = Conv(x, w0[24,24,1,1]); p = GlobalAveragePool(a); q = Conv(p, w1[6,24,1,1]); r = Relu(q);"
        " e = Conv(r, w2[24,6,1,1], b[24]); s = Sigmoid(e); y = Mul(s, a) }",
    ),
    "weights used twice": (
        {"implicit-gemm"},
        "x[1,8,9,9] -> y, z { a = Conv(x, w[8,8,3,3], pads=[1,1,1,1]); y = Conv(a, w, pads=[1,1,1,1]);"
        " z = Conv(x, v[4,8,3,3]) }",
    ),
    "moves": (
        {"implicit-gemm", "fallback"},
        "x[1,6,8,8] -> y { a = Conv(x, w[8,6,3,3]); t = Transpose(a, perm=[0,2,3,1]); b = Conv(x, v[8,6,3,3]);"
        " u = Transpose(b, perm=[0,2,3,1]); y = Concat(t, u, axis=1) }",
    ),
    "outputs of one call": (
        {"implicit-gemm", "fallback"},
        "x[1,8,9,9] -> y, z { a, b = Split(x, axis=1); y = Conv(a, w[8,4,3,3]); z = Conv(b, v[8,4,3,3]) }",
    ),
    "LSTM": (
        {"implicit-gemm", "dlight reduction", "fallback"},
        "x[3,1,9] -> y, h, c { y, h, c = LSTM(x, w[1,32,9], r[1,32,8], b[1,64], hidden_size=8) }",
    ),
}


def only(graph: Graph) -> tuple[tirx.PrimFunc, list[int], list[Any]]:
    """The function of a graph that is one; which of its parameters are constants; its arguments."""
    module = fused(graph, SM80)
    (function,) = [each for each in module.functions.values() if isinstance(each, tirx.PrimFunc)]
    call = module["main"].body.blocks[0].bindings[0].value
    names = dict(zip(module["main"].params, graph.data_inputs, strict=True))
    feeds = random_feeds(graph, batch=1)
    arguments = [each.value.numpy() if hasattr(each, "value") else feeds[names[each]] for each in call.args[1].fields]
    return function, [i for i, each in enumerate(call.args[1].fields) if hasattr(each, "value")], arguments


def expected(graph: Graph) -> list[np.ndarray]:
    found = next(iter(evaluate(graph, graph.outputs, [random_feeds(graph, batch=1)])))
    return [found[name] for name in graph.outputs]


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    largest = np.abs(wanted).max()
    assert largest > 0
    assert np.abs(found.astype(np.float64) - wanted).max() <= {2: 2e-3, 4: 1e-5}[wanted.itemsize] * largest


def emulated(graph: Graph, tile: Tile | None = None) -> tuple[Kernel, list[np.ndarray], str]:
    """The kernel of a graph that is one, its arguments with room for the output, and its schedule."""
    function, constants, arguments = only(graph)
    if tile is None:
        made = lowered(graph, SM80)
        (scheduled,) = [each for each in made.module.functions.values() if isinstance(each, tirx.PrimFunc)]
        packing, name = made.packing[made.steps[0].kernel], made.steps[0].schedule
    else:
        found = implicit_gemm.scheduled(function, constants, tile=tile)
        assert found is not None
        scheduled, packing, name = found.function, found.packing, found.schedule
    for each in packing:
        arguments[each.place] = arguments[each.place].transpose(each.axes)
    wanted = expected(graph)[0]
    output = np.full(wanted.shape, np.nan, wanted.dtype)
    return Kernel(scheduled, SM80), [*map(np.ascontiguousarray, arguments), output], name


@compiler
@pytest.mark.parametrize(("schedule", "text"), KERNELS.values(), ids=KERNELS)
def test_cuda_source_computes_what_onnx_runtime_does(schedule: str, text: str) -> None:
    graph = parse(text)
    kernel, arrays, name = emulated(graph)
    assert name.startswith(schedule)
    assert_close(kernel.run(*arrays), expected(graph)[0])


@compiler
@pytest.mark.slow  # TVM's intrinsics of tensor cores take a minute to import
@pytest.mark.parametrize(("schedule", "text"), TENSOR_CORES.values(), ids=TENSOR_CORES)
def test_tensor_cores_compute_what_onnx_runtime_does(schedule: str, text: str) -> None:
    test_cuda_source_computes_what_onnx_runtime_does(schedule, text)


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("tile", [Tile(8, 8, 8, 4, 16), Tile(32, 8, 4, 8, 8), Tile(16, 4, 1, 8, 8)], ids=str)
def test_every_form_of_a_tile_is_right_and_free_of_races(tile: Tile) -> None:
    graph = parse("x[1,10,11,11] -> y { a = Conv(x, w[33,10,3,3], b[33], pads=[1,1,1,1]); y = Relu(a) }")
    kernel, arrays, name = emulated(graph, tile)
    assert name == f"implicit-gemm {tile}"
    assert_close(kernel.run(*arrays), expected(graph)[0])
    assert kernel.races(*arrays) == ""


@compiler
def test_a_missing_barrier_would_be_noticed() -> None:
    kernel, arrays, _ = emulated(parse("x[1,8,5,5] -> y { y = Conv(x, w[8,8,3,3]) }"))
    assert kernel.races(*arrays) == ""
    kernel.source = kernel.source.replace("__syncthreads();", "")
    assert "data race" in kernel.races(*arrays)


def in_series(graph: Graph) -> tuple[Lowered, list[np.ndarray]]:
    """A network, its scheduled functions with threads one after the other."""
    made = lowered(graph, SM80)
    machine = relax.VirtualMachine(tvm.compile(serial(made.module), HOST, relax_pipeline=pipeline()), tvm.cpu())
    feeds = random_feeds(graph, batch=1)
    found = machine["main"](*(tvm.runtime.tensor(feeds[name]) for name in graph.data_inputs))
    return made, [each.numpy() for each in ([found] if hasattr(found, "numpy") else found)]


@pytest.mark.parametrize(("schedules", "text"), NETWORKS.values(), ids=NETWORKS)
def test_scheduled_networks_compute_what_onnx_runtime_does(schedules: set[str], text: str) -> None:
    graph = parse(text)
    made, found = in_series(graph)
    used = {step.schedule for step in made.steps}
    assert all(any(each.startswith(wanted) for each in used) for wanted in schedules), used
    for array, wanted in zip(found, expected(graph), strict=True):
        assert_close(array, wanted)


@st.composite
def convolutions(draw: st.DrawFn) -> str:
    """Any convolution of two dimensions that fits, with a bias or not."""

    def integer(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    group = draw(st.sampled_from([1, 1, 2, 3, 5]))
    ins, outs, kernel = group * integer(1, 7), group * integer(1, 19), [integer(1, 4), integer(1, 4)]
    dilations, strides, pads = (
        [integer(1, 2) for _ in "hw"],
        [integer(1, 3) for _ in "hw"],
        [integer(0, 2) for _ in "tlbr"],
    )
    height, width = ((k - 1) * d + integer(1, 9) for k, d in zip(kernel, dilations, strict=True))
    bias = f", b[{outs}]" if draw(st.booleans()) else ""
    return (
        f"x[{integer(1, 2)},{ins},{height},{width}] -> y {{ a = Conv(x, w[{outs},{ins // group},{kernel[0]},{kernel[1]}]{bias},"
        f" group={group}, dilations={dilations}, strides={strides}, pads={pads}); y = Relu(a) }}"
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(convolutions())
def test_any_convolution_is_right(text: str) -> None:
    graph = parse(text)
    _, (found,) = in_series(graph)
    wanted = expected(graph)[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1.0, np.abs(wanted).max()))


def test_float16_is_summed_in_float32() -> None:
    graph = parse("x[1,4096]:f16 -> y:f16 { y = MatMul(x, w[4096,8]:f16) }")
    graph.set_initializer("w", np.full((4096, 8), 1, np.float16))
    machine = relax.VirtualMachine(
        tvm.compile(serial(lowered(graph, SM80).module), HOST, relax_pipeline=pipeline()), tvm.cpu()
    )
    ones = np.full((1, 4096), 1, np.float16)
    assert machine["main"](tvm.runtime.tensor(ones)).numpy().tolist() == [[4096.0] * 8]  # in float16 it stops at 2048


def test_tiles_follow_the_shape() -> None:
    small, large = best(49, 512, 4608), best(112 * 112, 64, 147)
    assert small.pixels * small.filters < large.pixels * large.filters
    assert best(49, 512, 4608) == small
    assert all(64 <= tile.threads <= 256 for tile in TILES)
    assert all((tile.pixels + tile.filters) * tile.depth * 4 <= 48 * 1024 for tile in TILES)
