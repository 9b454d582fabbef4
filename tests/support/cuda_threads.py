"""CUDA kernels on the CPU: the source that nvcc would compile, by the host's C++ compiler, a thread for every thread.

A block's threads meet at a real barrier, shared memory is shared, blocks run one after the other. With ThreadSanitizer, an
access that no barrier orders is an error. What starts the threads is compiled once, and linked to each kernel.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, tirx
from tvm_ffi import structural_map, structural_walk

_SHARED = """
struct Index { int x, y, z; };
void meet();
void meet_warp(int warp);
void started(Index thread, Index block, int place, void **a);
"""
_DEVICE = """
#include <math.h>
#include <stdint.h>
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define alignas(bytes) __attribute__((aligned(bytes)))
#define __syncthreads() meet()
#define __activemask() 0xffffffffu
template <class T> static T max(T x, T y) { return x < y ? y : x; }
template <class T> static T min(T x, T y) { return y < x ? y : x; }
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
typedef _Float16 half;
typedef unsigned char uchar;
typedef unsigned int uint;
struct int2 { int x, y; };
struct int4 { int x, y, z, w; };
static int2 make_int2(int x, int y) { return {x, y}; }
static int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
struct half2 { half x, y; };
struct half4 { half x, y, z, w; };
static half2 make_half2(half x, half y) { return {x, y}; }
static half4 make_half4(half x, half y, half z, half w) { return {x, y, z, w}; }
static half __float2half_rn(float x) { return half(x); }
static float __half2float(half x) { return float(x); }
static half hmax(half x, half y) { return max(x, y); }
static thread_local Index threadIdx, blockIdx;
static thread_local int place;
namespace nvcuda::wmma {  // the first thread of a warp holds all of its matrices, and computes with them
struct matrix_a; struct matrix_b; struct accumulator; struct row_major {}; struct col_major {};
enum layout_t { mem_row_major, mem_col_major };
template <class Use, int M, int N, int K, class T, class Layout = row_major> struct fragment { float at[16][16]; };
template <class F> void fill_fragment(F &f, float x) { for (auto &row : f.at) for (auto &each : row) each = x; }
template <class U, class T, class P> void load_matrix_sync(fragment<U, 16, 16, 16, T, row_major> &f, P *p, int stride) {
  for (int i = 0; i < 16 && place % 32 == 0; ++i) for (int j = 0; j < 16; ++j) f.at[i][j] = p[i * stride + j];
}
template <class U, class T, class P> void load_matrix_sync(fragment<U, 16, 16, 16, T, col_major> &f, P *p, int stride) {
  for (int i = 0; i < 16 && place % 32 == 0; ++i) for (int j = 0; j < 16; ++j) f.at[i][j] = p[j * stride + i];
}
template <class D, class A, class B, class C> void mma_sync(D &d, A &a, B &b, C &c) {
  for (int i = 0; i < 16 && place % 32 == 0; ++i) for (int j = 0; j < 16; ++j) {
    float sum = c.at[i][j];
    for (int k = 0; k < 16; ++k) sum += a.at[i][k] * b.at[k][j];
    d.at[i][j] = sum;
  }
}
template <class F, class P> void store_matrix_sync(P *p, F &f, int stride, layout_t layout) {
  for (int i = 0; i < 16 && place % 32 == 0; ++i) for (int j = 0; j < 16; ++j)
    p[layout == mem_col_major ? j * stride + i : i * stride + j] = f.at[i][j];
}
}
static float held[1024];
static float taken(float value, int from) {
  held[place] = value;
  meet_warp(place / 32);
  float found = held[from];
  meet_warp(place / 32);
  return found;
}
static float __shfl_down_sync(unsigned, float value, int by, int width) {
  return taken(value, place % width + by < width ? place + by : place);
}
static float __shfl_sync(unsigned, float value, int lane, int width) {
  return taken(value, place / width * width + lane % width);
}
"""
_START = """
void started(Index thread, Index block, int where, void **a) {{
  threadIdx = thread;
  blockIdx = block;
  place = where;
  {name}({arguments});
}}
"""
_MAIN = """
#include <algorithm>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>
static std::barrier<> *waiting;
static std::barrier<> *warps[32];
void meet() { waiting->arrive_and_wait(); }
void meet_warp(int warp) { warps[warp]->arrive_and_wait(); }
int main(int count, char **given) {  // the sizes of the grid and of a block, then files, the last of which is written
  int sizes[6];
  for (int i = 0; i < 6; ++i) sizes[i] = atoi(given[i + 1]);
  const Index grid = {sizes[0], sizes[1], sizes[2]}, block = {sizes[3], sizes[4], sizes[5]};
  const int arrays = count - 7, threads = block.x * block.y * block.z;
  std::vector<std::vector<char>> data(arrays);
  std::vector<void *> a(arrays);
  for (int i = 0; i < arrays; ++i) {
    FILE *file = fopen(given[i + 7], "rb");
    fseek(file, 0, SEEK_END);
    data[i].resize(ftell(file));
    rewind(file);
    if (fread(data[i].data(), 1, data[i].size(), file) != data[i].size()) return 2;
    fclose(file);
    a[i] = data[i].data();
  }
  std::barrier<> together(threads);
  waiting = &together;
  for (int i = 0; 32 * i < threads; ++i) warps[i] = new std::barrier<>(std::min(32, threads - 32 * i));
  std::vector<std::thread> running;
  for (int z = 0; z < block.z; ++z) for (int y = 0; y < block.y; ++y) for (int x = 0; x < block.x; ++x)
    running.emplace_back([=, &a] {
      const int place = (z * block.y + y) * block.x + x;
      for (int p = 0; p < grid.z; ++p) for (int q = 0; q < grid.y; ++q) for (int r = 0; r < grid.x; ++r) {
        started({x, y, z}, {r, q, p}, place, a.data());
        meet();
      }
    });
  for (auto &each : running) each.join();
  for (auto *each : warps) delete each;
  FILE *file = fopen(given[count - 1], "wb");
  fwrite(a.back(), 1, data.back().size(), file);
  return fclose(file);
}
"""
_COMMAND = ("g++", "-std=c++20", "-O1", "-w", "-pthread", "-ffp-contract=off")


class Kernel:
    """The only kernel of a scheduled function whose parameters are all buffers."""

    def __init__(self, function: tirx.PrimFunc, target: Any):
        named = function.with_attr("global_symbol", "kernel_of")
        with target:
            built = tvm.compile(tvm.IRModule({"kernel_of": named}), target)
        self.source = built.mod.imports[0].inspect_source("cuda")
        kernels = re.findall(r'extern "C" __global__ void[^;{]*?(\w+)\(([^)]*)\)\s*\{', self.source)
        assert len(kernels) == 1, [name for name, _ in kernels]
        self.name, given = kernels[0]
        buffers = list(function.params)
        order = {buffer.name: place for place, buffer in enumerate(buffers)}
        self.arguments = []
        for each in given.split(","):
            pointer, name = re.match(r"(.*?)(\w+)$", each.strip().replace("__restrict__", "")).groups()  # type: ignore[union-attr]
            place = order[name.removesuffix("_ptr")]
            self.arguments.append(f"({pointer})a[{place}]")
        self.extents = {"blockIdx": [1, 1, 1], "threadIdx": [1, 1, 1]}
        structural_walk(function.body, (tirx.For, self._bound))

    def run(self, *arrays: np.ndarray) -> np.ndarray:
        """The last array, as the kernel leaves it."""
        found, said = self._ran(arrays, "-fsanitize=address")
        assert found is not None, said
        return found

    def races(self, *arrays: np.ndarray) -> str:
        """What ThreadSanitizer says of a run; nothing where every access is ordered."""
        return self._ran(arrays, "-fsanitize=thread", "-g")[1]

    def _ran(self, arrays: Sequence[np.ndarray], *flags: str) -> tuple[np.ndarray | None, str]:
        """The last array, unless the program fails, and what it says."""
        given = ", ".join(self.arguments)
        source = self.source[self.source.index('extern "C" __global__') :]
        source = re.sub(r"extern __shared__ __align__\(\d+\) (\w+ \w+)\[\]", r"alignas(64) static \1[1 << 18]", source)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            start = _START.format(name=self.name, arguments=given)
            kernel = _compiled(_SHARED + _DEVICE + source + start, *flags, "-nostdinc++")
            (folder / "main.o").write_bytes(_main(flags))
            (folder / "kernel.o").write_bytes(kernel)
            subprocess.run([*_COMMAND, *flags, "main.o", "kernel.o", "-o", "kernel"], cwd=folder, check=True)
            files = [folder / str(place) for place in range(len(arrays))]
            for file, array in zip(files, arrays, strict=True):
                file.write_bytes(array.tobytes())
            sizes = [*self.extents["blockIdx"], *self.extents["threadIdx"]]
            command = [str(folder / "kernel"), *map(str, sizes), *map(str, files)]
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            if ran.returncode:
                return None, ran.stderr or f"exit {ran.returncode}"
            made = np.frombuffer(files[-1].read_bytes(), arrays[-1].dtype)
            return made.reshape(arrays[-1].shape), ran.stderr

    def _bound(self, loop: Any) -> None:
        if loop.thread_binding is not None:
            kind, axis = str(loop.thread_binding.thread_tag).split(".")
            if kind not in self.extents:  # virtual threads are loops by now
                return
            at = "xyz".index(axis)
            self.extents[kind][at] = max(self.extents[kind][at], int(loop.extent))


@cache
def _main(flags: tuple[str, ...]) -> bytes:
    """The object of what runs a kernel, which takes as long to compile as many kernels."""
    return _compiled(_SHARED + _MAIN, *flags)


def _compiled(source: str, *flags: str) -> bytes:
    """The object of a source."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "source.cc").write_text(source)
        subprocess.run([*_COMMAND, *flags, "-c", "source.cc", "-o", "source.o"], cwd=folder, check=True)
        return (Path(folder) / "source.o").read_bytes()


def serial(module: tvm.IRModule) -> tvm.IRModule:
    """A module of scheduled functions for the CPU: loops over threads one after the other, all memory the same.

    What a block's threads do together is a loop nest of its own under the loops of blocks and threads, so that the order of
    its parts is that of the schedule.
    """
    done = {}
    for variable, function in module.functions.items():
        done[variable] = _serial(function) if isinstance(function, tirx.PrimFunc) else function
    return tvm.IRModule(done)


def _serial(function: tirx.PrimFunc) -> tirx.PrimFunc:
    sch = s_tir.Schedule(function)
    waiting = [sch.get_sblock("root")]
    while waiting:
        block = waiting.pop()
        waiting += sch.get_child_blocks(block)
        for place, written in enumerate(sch.get(block).writes):
            if written.source.scope() not in ("", "global"):
                sch.set_scope(block, place, "global")

    def unbound(loop: Any) -> Any:
        kind = tirx.ForKind.SERIAL
        return tirx.For(loop.loop_var, loop.min, loop.extent, kind, loop.body)

    made = structural_map(sch.mod["main"], (tirx.For, unbound))
    return made.with_attr("tirx.is_scheduled", True)
