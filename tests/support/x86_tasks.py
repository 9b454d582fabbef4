"""Kernels of windows, means and resizes for one operator of ONNX, with what ONNX Runtime makes of it."""

from __future__ import annotations

import ctypes
import math
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from pruneir.backends.x86.depthwise import depthwise, depthwise_weights
from pruneir.backends.x86.pooling import GlobalPooling, pooling
from pruneir.backends.x86.resizing import Axis, Resizing, taps
from pruneir.backends.x86.tiling import Geometry
from pruneir.graph import Graph, Operator, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.verify.feeds import random_feeds

RUNTIME = Path(__file__).parents[2] / "backends" / "x86" / "runtime"
FLAGS = "-std=gnu11 -mavx2 -mfma -ffp-contract=fast -fno-math-errno -fno-trapping-math -fPIC -Wall -Wextra -Werror -Wno-psabi"

FINISH = """
INLINE vf {name}_finish(vf sum, void *const *p, long point, long filter, int lanes) {{
    sum += vf_load((const float *)p[{operand}] + filter);
    sum += vf_load_n((const float *)p[{operand} + 1] + point * {channels} + filter, lanes);
    return vf_max(sum, vf_set(0));
}}
"""
"""Adds an operand of the filter and one of the place, then takes what is positive."""


class Kernel(Protocol):
    @property
    def items(self) -> int: ...
    def source(self, name: str, finish: str) -> str: ...


@dataclass(frozen=True)
class Task:
    """A kernel, what it reads before its output, and what it should write; all with channels last.

    finished  whether an epilogue follows
    """

    kernel: Kernel
    inputs: tuple[np.ndarray, ...]
    wanted: np.ndarray
    finished: bool

    @property
    def channels(self) -> int:
        return int(self.wanted.shape[-1])

    def source(self, name: str) -> str:
        finish = FINISH.format(name=name, operand=len(self.inputs) + 1, channels=self.channels)
        return self.kernel.source(name, finish if self.finished else "")


def task(text: str, lanes: int, finished: bool = True) -> Task:
    """The kernel for a graph of one operator."""
    graph = parse(text)
    feeds = random_feeds(graph, seed=1)
    wanted = next(evaluate(graph, ["y"], [feeds]))["y"]
    (operator,) = graph.operators
    kernel, weights = MAKERS[operator.type](graph, operator, (feeds["x"].shape, wanted.shape), lanes)
    return Task(kernel, (channels_last(feeds["x"]), *weights), channels_last(wanted), finished)


Made = tuple[Kernel, tuple[np.ndarray, ...]]
Shapes = tuple[tuple[int, ...], tuple[int, ...]]


def window(operator: Operator, shapes: Shapes, kernel: Sequence[int]) -> Geometry:
    (n, ic, *size), (_, oc, *out) = shapes
    strides, dilations = operator.attribute("strides") or (1, 1), operator.attribute("dilations") or (1, 1)
    pads = operator.attribute("pads") or (0, 0, 0, 0)
    return Geometry(n, *size, ic, *out, oc, *kernel, *strides, *dilations, *pads[:2])


def made_conv(graph: Graph, operator: Operator, shapes: Shapes, lanes: int) -> Made:
    weights = graph.constant(operator.inputs[1])
    assert weights is not None
    return depthwise(window(operator, shapes, weights.shape[2:]), lanes), (depthwise_weights(weights, lanes),)


def made_pool(graph: Graph, operator: Operator, shapes: Shapes, lanes: int) -> Made:
    _, _, pb, pr = operator.attribute("pads") or (0, 0, 0, 0)
    geometry = window(operator, shapes, operator.attribute("kernel_shape"))
    counted = bool(operator.attribute("count_include_pad", 0))
    return pooling(geometry, lanes, maximum=operator.type == "MaxPool", padded=counted, pb=pb, pr=pr), ()


def made_global(graph: Graph, operator: Operator, shapes: Shapes, lanes: int) -> Made:
    n, channels, *size = shapes[0]
    return GlobalPooling(n, math.prod(size), channels, maximum=operator.type == "GlobalMaxPool"), ()


def made_resize(graph: Graph, operator: Operator, shapes: Shapes, lanes: int) -> Made:
    (n, channels, ih, iw), (_, _, oh, ow) = shapes
    given = graph.constant(operator.inputs[2]) if operator.inputs[2] else None
    scales = (oh / ih, ow / iw) if given is None else tuple(float(scale) for scale in given[2:])
    linear = operator.attribute("mode") == "linear"
    coordinates = operator.attribute("coordinate_transformation_mode", "half_pixel")
    nearest = "" if linear else operator.attribute("nearest_mode", "round_prefer_floor")
    rows, columns = (taps(Axis(*axis), coordinates, nearest) for axis in zip((ih, iw), (oh, ow), scales, strict=True))
    return Resizing(n, ih, iw, channels, rows, columns, linear), ()


MAKERS: Mapping[str, Callable[[Graph, Operator, Shapes, int], Made]] = {
    "Conv": made_conv,
    "MaxPool": made_pool,
    "AveragePool": made_pool,
    "GlobalAveragePool": made_global,
    "GlobalMaxPool": made_global,
    "Resize": made_resize,
}


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def library(source: str, lanes: int, optimize: str, *flags: str) -> ctypes.CDLL:
    """C made a library."""
    with TemporaryDirectory(prefix="pruneir-") as folder:
        path = Path(folder)
        (path / "all.c").write_text(source)
        command = [
            "cc",
            optimize,
            *FLAGS.split(),
            *flags,
            "-shared",
            f"-DVL={lanes}",
            f"-I{RUNTIME}",
            "all.c",
            "-o",
            "all.so",
        ]
        done = subprocess.run(command, cwd=path, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return ctypes.CDLL(str(path / "all.so"))


def kernels(tasks: Sequence[Task], lanes: int, optimize: str, *flags: str) -> ctypes.CDLL:
    """Each task's kernel as `kernel_<i>`."""
    texts = [task.source(f"kernel_{i}") for i, task in enumerate(tasks)]
    return library('#include "simd.h"\n' + "\n".join(texts), lanes, optimize, *flags)
