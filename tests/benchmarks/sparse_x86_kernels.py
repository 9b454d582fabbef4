"""Sparse kernels of x86 on their own: compiled, timed in turns with dense ones, and the constants of their cost model.

    python tests/benchmarks/sparse_x86_kernels.py [--repeats 8]

measures kernels of many shapes, densities and tiles, and prints the constants of backends/x86/sparse_costs.py that fit
best: least squares of the logarithm of estimated by measured cycles, of groups and of single weights each.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
from benchmarks.x86_kernels import FINISH, FLAGS, HARNESS, RUNTIME, aligned

from pruneir.backends.x86 import sparse_costs
from pruneir.backends.x86.cpu import AVX2, X86Cpu
from pruneir.backends.x86.dense import Direct, Transformed
from pruneir.backends.x86.sparse_groups import Groups, groups
from pruneir.backends.x86.sparse_rows import Rows, rows
from pruneir.backends.x86.tiling import Geometry

Kernel: TypeAlias = Direct | Transformed | Groups | Rows
LANES = AVX2.lanes


def conv(channels: int, filters: int, size: int, k: int = 3, stride: int = 1) -> Geometry:
    """A convolution over a square image, padded by half its kernel."""
    out = (size + 2 * (k // 2) - k) // stride + 1
    return Geometry(1, size, size, channels, out, out, filters, k, k, stride, stride, 1, 1, k // 2, k // 2)


def layer(inputs: int, outputs: int, batch: int = 1) -> Geometry:
    """A dense layer."""
    return Geometry(1, 1, batch, inputs, 1, batch, outputs)


def weights(g: Geometry, density: float, width: int) -> np.ndarray:
    """Random weights, of which so many groups of `width` filters at one position are not zero."""
    random = np.random.default_rng(0)
    panels = -(-g.oc // width)
    kept = random.random((panels, 1, g.ic, g.kh, g.kw)) < density
    mask = np.broadcast_to(kept, (panels, width, *kept.shape[2:])).reshape(-1, *kept.shape[2:])[: g.oc]
    return (random.standard_normal(mask.shape, np.float32) * mask).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A kernel and the weights, as the layer has them."""

    kernel: Kernel
    weights: np.ndarray

    @property
    def packed(self) -> np.ndarray:
        """As the kernel reads them."""
        kernel = self.kernel
        stored = isinstance(kernel, Groups | Rows)
        return np.asarray(kernel.packed() if stored else kernel.packed(self.weights))


def least_cycles(cases: Mapping[str, Case], repeats: int, cpu: X86Cpu = AVX2) -> dict[str, float]:
    """The least cycles of each, run in turns; a cycle is half of a multiply-add of the peak loop."""
    text = f"#define VL {cpu.lanes}\n" + '#include "tile.h"\n' + HARNESS
    for name, case in cases.items():
        text += case.kernel.source(name, FINISH.format(name=name))
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        Path(folder, "all.c").write_text(text)
        command = ["cc", *FLAGS, *cpu.flags, "-I", str(RUNTIME), "all.c", "-o", "all.so"]
        subprocess.run(command, cwd=folder, check=True)
        code = ctypes.CDLL(str(Path(folder, "all.so")))
    code.seconds.restype = code.peak.restype = ctypes.c_double
    arrays = {}
    for name, case in cases.items():
        g = case.kernel.geometry
        x = random.standard_normal(g.n * g.ih * g.iw * g.ic, np.float32)
        y = np.zeros(g.points * g.oc, np.float32)
        bias = np.zeros(g.oc + cpu.lanes, np.float32)
        scratch = np.zeros(case.kernel.scratch + 1, np.uint8)
        whole = [x, case.packed.reshape(-1).view(np.uint8), y, bias, scratch]
        arrays[name] = [aligned(array) for array in whole]
    found, peak = dict.fromkeys(cases, float("inf")), 0.0
    for _ in range(repeats):
        peak = max(peak, float(code.peak(ctypes.c_long(50_000))))
        for name, case in cases.items():
            pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays[name]]
            given = (ctypes.c_void_p * 4)(*pointers[:4])
            for _ in range(3):
                taken = code.seconds(getattr(code, name), given, pointers[4], ctypes.c_long(case.kernel.items))
                found[name] = min(found[name], taken)
    return {name: seconds * peak / (2 * cpu.lanes) for name, seconds in found.items()}


SHAPES = {
    "one row, 784": layer(784, 1024), "one row, 2048": layer(2048, 512), "4 rows": layer(512, 512, 4),
    "64 rows, 512": layer(512, 256, 64), "64 rows, 1000": layer(1000, 256, 64), "64 rows, 3072": layer(3072, 128, 64),
    "3×3, 32": conv(32, 64, 56), "3×3, 64": conv(64, 64, 28), "3×3, 256": conv(256, 128, 14), "3×3, 512": conv(512, 128, 7),
    "1×1, 64": conv(64, 128, 28, 1), "1×1, 256": conv(256, 128, 28, 1), "3×3/2, 64": conv(64, 128, 28, 3, 2),
    "5×5, 3": conv(3, 32, 64, 5, 2), "few filters": conv(128, 8, 28, 1), "few filters, 3×3": conv(64, 8, 28),
}  # fmt: skip


def measured(repeats: int) -> list[tuple[Kernel, float]]:
    """Kernels with the format that the model would choose for each shape and density, and their cycles."""
    cases = {}
    for place, g in enumerate(SHAPES.values()):
        for density in (0.03, 0.1, 0.25):
            for width, make in ((8, groups), (16, groups), (1, rows)):
                values = weights(g, density, width)
                kernel = make(g, values, LANES)
                assert kernel is not None
                cases[f"kernel_{place}_{round(100 * density)}_{width}"] = Case(kernel, values)
    cycles = least_cycles(cases, repeats)
    return [(case.kernel, cycles[name]) for name, case in cases.items()]


def fitted(found: Sequence[tuple[Kernel, float]], names: Iterable[str]) -> None:
    """Change some constants of the model until none of them, changed alone, fits better."""
    names, steps = [*names], [0.7, 0.9, 0.97, 1.03, 1.1, 1.4]
    best = _squares(found)
    while True:
        before = best
        for name in names:
            for step in steps:
                kept = sparse_costs.COSTS
                sparse_costs.COSTS = replace(kept, **{name: step * getattr(kept, name)})
                error = _squares(found)
                best, sparse_costs.COSTS = (error, sparse_costs.COSTS) if error < best else (best, kept)
        if best > 0.999 * before:
            return


def _squares(found: Sequence[tuple[Kernel, float]]) -> float:
    return float(sum(np.log(kernel.cycles / cycles) ** 2 for kernel, cycles in found))


def main() -> None:
    """Measure, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=8)
    found = measured(parser.parse_args().repeats)
    of_groups = [each for each in found if isinstance(each[0], Groups)]
    of_rows = [each for each in found if isinstance(each[0], Rows)]
    fitted(of_groups, ["operation", "group", "tile", "vector", "run", "line"])
    fitted(of_rows, ["load", "weight", "row", "turned", "copied", "single"])
    for name, part in (("groups", of_groups), ("single weights", of_rows)):
        low, middle, high = quantiles([kernel.cycles / cycles for kernel, cycles in part])
        print(f"{name}: estimated by measured, quartiles {low:.2f} {middle:.2f} {high:.2f} of {len(part)} kernels")
    values = ", ".join(f"{f.name}={getattr(sparse_costs.COSTS, f.name):.2g}" for f in fields(sparse_costs.COSTS))
    print(f"COSTS = Costs({values})")


if __name__ == "__main__":
    main()
