"""Layers of the x86 backend against the core's peak and against ONNX Runtime, one thread.

    python tests/benchmarks/x86_kernels.py [--only 3x3 …] [--repeats 20] [--lanes 8]

Each layer is a convolution or a matrix product with bias and Relu, in a model of three: what comes before makes ONNX
Runtime lay the channels out as inside a network, and its profile tells the time of the layer alone. The layer, ONNX
Runtime and a loop of multiply-adds on registers (the peak) take turns; of each the least time counts.

    GFLOP/s   two for each product, those with padding counted too
    of peak   share of the multiply-add loop
    ratio     our time by that of ONNX Runtime
    error     largest difference, by the largest output
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pruneir.backends.x86.conv import conv_source
from pruneir.backends.x86.packing import packed
from pruneir.backends.x86.tiling import Geometry, tiling

RUNTIME = Path(__file__).parents[2] / "backends" / "x86" / "runtime"
FLAGS = "-O3 -std=gnu11 -mavx2 -mfma -ffp-contract=fast -fno-math-errno -fno-trapping-math -shared -fPIC".split()

FINISH = """
INLINE vf {name}_finish(vf sum, void *const *p, long point, long filter, int lanes) {{
    (void)point, (void)lanes;
    return vf_max(sum + vf_load((const float *)p[3] + filter), vf_set(0));
}}
"""

HARNESS = """
#include <time.h>
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
typedef void kernel(void *const *p, void *scratch, long begin, long end);
double seconds(kernel *f, void *const *p, void *scratch, long items) {
    const double start = now();
    f(p, scratch, 0, items);
    return now() - start;
}
/* Multiply-adds a second of twelve chains in registers. */
double peak(long turns) {
    vf sums[12];
    UNROLL for (int i = 0; i < 12; i++)
        sums[i] = vf_set((float)i);
    vf a = vf_set(0.5f), b = vf_set(0.25f);
    __asm__ volatile("" : "+x"(a), "+x"(b));
    const double start = now();
    for (long turn = 0; turn < turns; turn++) {
        UNROLL for (int i = 0; i < 12; i++)
            sums[i] = vf_fma(sums[i], a, b);
        __asm__ volatile("" : "+x"(sums[0]));
    }
    const double taken = now() - start;
    volatile float sink = 0;
    UNROLL for (int i = 0; i < 12; i++)
        sink += sums[i][0];
    return 12.0 * VL * (double)turns / taken;
}
"""


@dataclass(frozen=True)
class Layer:
    """A convolution with `k`×`k` taps and `k // 2` padding, or, where `size` is 0, a matrix product of `rows` rows."""

    ic: int
    oc: int
    size: int
    k: int = 1
    stride: int = 1
    rows: int = 1

    def __str__(self) -> str:
        if not self.size:
            return f"dense {self.ic}→{self.oc}, {self.rows} rows"
        return f"{self.k}x{self.k}{f'/{self.stride}' if self.stride > 1 else ''} {self.ic}→{self.oc} {self.size}²"

    @property
    def geometry(self) -> Geometry:
        """Its sizes; `size` is that of the input."""
        if not self.size:
            return Geometry(1, 1, self.rows, self.ic, 1, self.rows, self.oc)
        out = (self.size + 2 * (self.k // 2) - self.k) // self.stride + 1
        k, s, p = self.k, self.stride, self.k // 2
        return Geometry(1, self.size, self.size, self.ic, out, out, self.oc, k, k, s, s, 1, 1, p, p)

    def model(self, weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
        """It, in ONNX, as `layer`; with a 1×1 convolution ahead."""
        data = {"w": weights, "b": bias}
        if not self.size:
            shapes = ([self.rows, self.ic], [self.rows, self.oc])
            nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["s"], "layer"), helper.make_node("Relu", ["s"], ["y"])]
        else:
            g, inputs = self.geometry, 3 if self.ic == 3 else 8
            shapes = ([1, inputs, g.ih, g.iw], [1, g.oc, g.oh, g.ow])
            conv: dict[str, Any] = {
                "kernel_shape": [self.k] * 2,
                "strides": [self.stride] * 2,
                "pads": [self.k // 2] * 4,
            }
            nodes = [
                helper.make_node("Conv", ["h" if self.ic != 3 else "x", "w", "b"], ["s"], "layer", **conv),
                helper.make_node("Relu", ["s"], ["y"]),
            ]
            if self.ic != 3:
                data["e"] = _ahead(self.ic)
                nodes.insert(0, helper.make_node("Conv", ["x", "e"], ["h"], "ahead"))
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip("xy", shapes, strict=True)]
        initializers = [numpy_helper.from_array(value, name) for name, value in data.items()]
        graph = helper.make_graph(nodes, "one layer", infos[:1], infos[1:], initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


LAYERS = [
    *(Layer(c, c, size, 3) for c, size in ((64, 56), (128, 28), (256, 14), (512, 7), (64, 224), (512, 28))),
    Layer(3, 64, 224, 7, 2), Layer(3, 64, 224, 3), Layer(3, 32, 224, 3, 2),
    *(Layer(ic, oc, 56) for ic, oc in ((64, 64), (64, 256), (256, 64))),
    Layer(512, 128, 28), Layer(128, 512, 28), Layer(256, 1024, 14), Layer(1024, 256, 14),
    Layer(512, 2048, 7), Layer(2048, 512, 7),
    Layer(32, 16, 112), Layer(16, 96, 112), Layer(24, 144, 56), Layer(144, 24, 56), Layer(32, 192, 28),
    Layer(192, 32, 28), Layer(384, 64, 14), Layer(576, 96, 14), Layer(160, 960, 7), Layer(960, 160, 7),
    Layer(320, 1280, 7),
    Layer(37, 91, 28), Layer(45, 72, 28), Layer(37, 91, 28, 3), Layer(45, 72, 14, 3),
    Layer(64, 128, 56, 3, 2), Layer(256, 512, 14, 3, 2), Layer(256, 512, 56, 1, 2), Layer(1024, 2048, 14, 1, 2),
    Layer(512, 1000, 0), Layer(1280, 1000, 0), Layer(2048, 1000, 0), Layer(4096, 4096, 0), Layer(25088, 4096, 0),
    Layer(512, 1000, 0, rows=4), Layer(512, 512, 0, rows=64),
]  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Seconds of a layer here and in ONNX Runtime, the peak in products a second, and the error."""

    ours: float
    theirs: float
    peak: float
    error: float


class Library:
    """Kernels of layers, compiled into one."""

    def __init__(self, layers: list[Layer], lanes: int, folder: Path):
        self.tilings = {layer: tiling(layer.geometry, lanes) for layer in layers}
        self.names = {layer: f"layer_{place}" for place, layer in enumerate(layers)}
        text = f"#define VL {lanes}\n" + '#include "tile.h"\n' + HARNESS
        for layer, name in self.names.items():
            text += conv_source(name, layer.geometry, self.tilings[layer], FINISH.format(name=name))
        (folder / "layers.c").write_text(text)
        started = time.perf_counter()
        command = ["cc", *FLAGS, "-I", str(RUNTIME), "layers.c", "-o", "layers.so"]
        subprocess.run(command, cwd=folder, check=True)
        self.compiled = time.perf_counter() - started
        self.size = (folder / "layers.so").stat().st_size
        self.so = ctypes.CDLL(str(folder / "layers.so"))
        self.so.seconds.restype = self.so.peak.restype = ctypes.c_double

    def peak(self) -> float:
        """Products a second."""
        return float(self.so.peak(ctypes.c_long(200_000)))

    def seconds(self, layer: Layer, arrays: list[np.ndarray]) -> float:
        """Of one call."""
        pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        kernel = getattr(self.so, self.names[layer])
        return float(self.so.seconds(kernel, pointers, None, ctypes.c_long(self.tilings[layer].items)))


def aligned(values: np.ndarray) -> np.ndarray:
    """A copy at a multiple of 64 bytes."""
    room = np.empty(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def measure(layer: Layer, library: Library, repeats: int, folder: Path) -> Measured:
    """A layer, here and there in turn."""
    random, cut = np.random.default_rng(0), library.tilings[layer]
    scale = math.sqrt(2 / (layer.ic * layer.k**2))
    shape = (layer.oc, layer.ic, layer.k, layer.k) if layer.size else (layer.ic, layer.oc)
    weights = (scale * random.standard_normal(shape)).astype(np.float32)
    bias = random.standard_normal(layer.oc).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    model = layer.model(weights, bias).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = random.standard_normal(session.get_inputs()[0].shape).astype(np.float32)
    seen = x if x.ndim == 2 or layer.ic == 3 else np.einsum("nihw,oi->nohw", x, _ahead(layer.ic)[:, :, 0, 0])
    image = seen.transpose(0, 2, 3, 1) if seen.ndim == 4 else seen
    g = layer.geometry
    y = np.empty((g.oh, g.ow, g.oc), np.float32)
    padded = np.pad(bias, (0, -layer.oc % cut.lanes))
    arrays = [aligned(a) for a in (np.ascontiguousarray(image), packed(weights, cut.vectors, cut.lanes), y, padded)]
    ours, peak = [], []
    for _ in range(repeats):
        (expected,) = session.run(None, {"x": x})
        ours += [library.seconds(layer, arrays) for _ in range(3)]
        peak.append(library.peak())
    events = json.loads(Path(session.end_profiling()).read_text())
    theirs = [event["dur"] * 1e-6 for event in events if event["name"].endswith("kernel_time") and _is_layer(event)]
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    error = np.abs(arrays[2].ravel() - expected.ravel()).max() / np.abs(expected).max()
    return Measured(min(ours), min(theirs), max(peak), float(error))


def _ahead(channels: int) -> np.ndarray:
    """Weights that make 8 channels so many."""
    return np.random.default_rng(1).standard_normal((channels, 8, 1, 1)).astype(np.float32) / np.float32(3)


def _is_layer(event: dict[str, Any]) -> bool:
    """Whether an event of a profile is the layer: fused, its node has the name of its output or one with its own in."""
    kernel = event["args"]["op_name"] in {"Conv", "FusedConv", "Gemm", "FusedGemm"}
    return kernel and (event["name"].startswith("y_") or "layer" in event["name"])


def rows(layers: list[Layer], library: Library, repeats: int, folder: Path) -> Iterator[str]:
    """The table, line by line, and the mean of its ratios."""
    ratios = []
    yield f"{'layer':28}{'tile':>7}{'items':>7}{'ms':>9}{'GFLOP/s':>9}{'of peak':>9}{'ratio':>7}{'error':>9}"
    for layer in layers:
        m = measure(layer, library, repeats, folder)
        cut, macs = library.tilings[layer], layer.geometry.macs
        ratios.append(m.ours / m.theirs)
        yield (
            f"{layer!s:28}{cut!s:>7}{cut.items:7}{1e3 * m.ours:9.3f}{2e-9 * macs / m.ours:9.1f}"
            f"{macs / m.ours / m.peak:9.0%}{ratios[-1]:7.2f}{m.error:9.0e}"
        )
    yield f"geometric mean of {len(ratios)} ratios: {math.exp(float(np.log(ratios).mean())):.3f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of layers")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--lanes", type=int, default=8, choices=(8, 16))
    options = parser.parse_args()
    layers = [layer for layer in LAYERS if any(part in str(layer) for part in options.only)]
    with TemporaryDirectory() as folder:
        library = Library(layers, options.lanes, Path(folder))
        print(f"{len(layers)} kernels compiled in {library.compiled:.1f} s, {library.size / 1024:.0f} KB")
        print(f"peak {2e-9 * max(library.peak() for _ in range(50)):.1f} GFLOP/s")
        for line in rows(layers, library, options.repeats, Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
