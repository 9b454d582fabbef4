"""Whole networks, uncut and cut: the outputs of ONNX Runtime, few instructions, a small arena, and that pruning pays."""

from __future__ import annotations

from functools import cache

import pytest
from benchmarks.cortex_m import CPUS, NETWORKS, PASSES, Row, cut, measured, misses

pytestmark = [pytest.mark.qemu, pytest.mark.tvm, pytest.mark.slow]

EMULATED_FAST = ("mnist", "wdcnn", "mobilenet-se", "resnet")
"""Networks of a few million multiply-adds: QEMU executes them in a second."""


@cache
def row(name: str, by: str, cpu: str) -> Row:
    """What it takes."""
    return measured(name, by, cpu, cut(NETWORKS[name].graph(), by, cpu))


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", EMULATED_FAST)
def test_a_network_meets_its_bars(name: str, cpu: str) -> None:
    assert [*misses(row(name, "none", cpu), None)] == []


@pytest.mark.parametrize("by", [by for by in PASSES if by != "none"])
@pytest.mark.parametrize("name", EMULATED_FAST)
def test_a_network_that_was_cut_meets_its_bars(name: str, by: str) -> None:
    small, whole = row(name, by, "cortex-m4"), row(name, "none", "cortex-m4")
    assert [*misses(small, whole)] == []
    if small.macs < whole.macs:
        assert (small.flash, small.arena, small.instructions) < (whole.flash, whole.arena, whole.instructions)


@pytest.mark.parametrize("cpu", [cpu for cpu in CPUS if cpu != "cortex-m4"])
@pytest.mark.parametrize("name", EMULATED_FAST)
def test_pruning_pays_on_other_processors(name: str, cpu: str) -> None:
    assert [*misses(row(name, "macs", cpu), row(name, "none", cpu))] == []


def test_a_cut_network_computes_the_same_on_vectors() -> None:
    assert [*misses(row("mnist", "filter", "cortex-m55"), None)] == []
