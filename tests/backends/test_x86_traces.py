"""What benchmarks take for the course of a kernel on a processor that is not here: it does the products that it must."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmarks.sparse_x86_kernels import Case, conv, layer, weights
from benchmarks.x86_processors import PROCESSORS
from benchmarks.x86_traces import Assembly, Trace, trace

from pruneir.backends.x86.cpu import AVX2, AVX512, X86Cpu
from pruneir.backends.x86.dense import Direct
from pruneir.backends.x86.sparse_groups import Groups, groups
from pruneir.backends.x86.sparse_rows import Rows, rows
from pruneir.backends.x86.tiling import Geometry, tiling
from support import needs
from support.quick import first_quick

pytestmark = needs.cc

GEOMETRIES = {"1×1": conv(24, 48, 9, 1), "rows": layer(64, 48, 5)}
"""Without borders, where fewer products are computed."""


def direct(g: Geometry, cpu: X86Cpu) -> tuple[Case, float]:
    """A kernel, and how often it multiplies vectors."""
    return Case(Direct(g, tiling(g, cpu.lanes)), weights(g, 1.0, 1)), g.points * g.oc * g.ic / cpu.lanes


def in_groups(g: Geometry, cpu: X86Cpu) -> tuple[Case, float]:
    values = weights(g, 0.3, cpu.lanes)
    kernel = groups(g, values, cpu.lanes)
    assert isinstance(kernel, Groups)
    (stored,) = kernel.stored
    return Case(kernel, values), stored.groups * g.points * stored.width / cpu.lanes


def one_by_one(g: Geometry, cpu: X86Cpu) -> tuple[Case, float]:
    values = weights(g, 0.3, 1)
    kernel = rows(g, values, cpu.lanes)
    assert isinstance(kernel, Rows)
    return Case(kernel, values), np.count_nonzero(
        values
    ) * kernel.block.count * kernel.block.tiles * kernel.block.vectors


@pytest.mark.parametrize("cpu", first_quick([AVX2, AVX512]), ids=lambda cpu: cpu.name)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("made", [direct, in_groups, one_by_one])
def test_a_kernel_multiplies_as_often_as_it_must(
    made: Callable[[Geometry, X86Cpu], tuple[Case, float]], geometry: Geometry, cpu: X86Cpu
) -> None:
    case, products = made(geometry, cpu)
    found = trace(case, cpu)
    assert found.count("vfmadd") == products
    assert len(found.ends) == len(found.order)
    assert len(found.addresses) >= products / 24  # the most products that share a load


def test_a_kernel_that_is_too_long_is_refused() -> None:
    case, _ = direct(GEOMETRIES["rows"], AVX2)
    with pytest.raises(ValueError, match="runs 100 blocks"):
        trace(case, AVX2, most=100)


@pytest.mark.parametrize(
    "line", ["vcomiss %xmm0, %xmm1", "vpmovmskb %ymm0, %eax", "kortestw %k0, %k1", "kmovw %k1, %eax"]
)
def test_code_that_asks_vectors_where_to_go_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="may depend on a vector"):
        Assembly.of(f".text\nf:\n\t{line}\n\tjne f\n").scalar()


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("vmovq %rdi, %xmm17; vmovdqa32 %xmm17, %xmm3; vmovq %xmm3, %rax", 0x1122334455667788),
        ("vmovd %edi, %xmm2; vmovq %xmm2, %rax", 0x55667788),
        ("mov %rdi, -8(%rsp); movq $7, -16(%rsp); vmovups -16(%rsp), %xmm9; vmovups %xmm9, -48(%rsp); mov -40(%rsp), %rax",
         0x1122334455667788),
        ("movq $-1, -8(%rsp); vmovd %edi, %xmm2; vmovd %xmm2, -8(%rsp); mov -8(%rsp), %rax", -0xFFFFFFFF + 0x55667788 - 1),
    ],
)  # fmt: skip
def test_scalars_outlive_a_stay_in_a_vector_register(code: str, wanted: int, tmp_path: Path) -> None:
    lines = "\n".join(["\t.text", "\t.globl f", "f:", *(f"\t{each.strip()}" for each in code.split(";")), "\tret"])
    (tmp_path / "f.s").write_text(Assembly.of(lines).scalar())
    subprocess.run(["cc", "-shared", "f.s", "-o", "f.so"], cwd=tmp_path, check=True)
    made, room = ctypes.CDLL(str(tmp_path / "f.so")), np.zeros(64, np.uint64)
    made.record(ctypes.c_void_p(room.ctypes.data), ctypes.c_void_p(room[32:].ctypes.data), ctypes.c_long(32))
    made.f.restype, made.f.argtypes = ctypes.c_int64, [ctypes.c_int64]
    assert made.f(0x1122334455667788) == wanted


@pytest.mark.parametrize(("lines", "missed"), [(400, 0), (600, 600)])
def test_a_cache_misses_what_it_cannot_hold(lines: int, missed: int) -> None:
    addresses = np.arange(lines, dtype=np.uint64) * np.uint64(64)
    assert PROCESSORS["Zen 3"].missed(Trace((), np.zeros(0, np.int32), addresses)) == missed
