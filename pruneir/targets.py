"""Machines as data: what a pass needs to know of the target that a network is shaped for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pruneir.errors import PruneirError
from pruneir.names import did_you_mean

Order = Literal["outputs", "inputs"]
"""Along which axis a kernel's vector of weights lies."""
Parallelism = Literal["low", "moderate", "high"]


@dataclass(frozen=True, slots=True)
class Target:
    """One machine.

    name              as in `--target`
    channel_multiple  kept channel counts are rounded up to a multiple of this
    simd_width        float32 lanes that one instruction or one unrolled loop serves
    weight_order      what a vector of `simd_width` weights is. outputs: consecutive filters or neurons that read the
                      same input position, each multiplied with the same value, as in the packed panels of the x86
                      kernels and in the tiles of the Cortex-M micro-kernels; inputs: consecutive inputs of one filter
                      or neuron, a part of a dot product
    parallelism       how much a machine does at once. low: one core in order; moderate: some cores with vectors; high:
                      thousands of lanes (the three levels of Scalpel, Yu et al., ISCA 2017)
    flash, ram        bytes that the board has; None where that is no limit
    """

    name: str
    channel_multiple: int = 1
    simd_width: int = 1
    weight_order: Order = "outputs"
    parallelism: Parallelism = "low"
    flash: int | None = None
    ram: int | None = None


TARGETS = {
    target.name: target
    for target in (
        Target("any"),
        Target("cortex-m0plus", channel_multiple=2),
        Target("cortex-m4", channel_multiple=4, simd_width=8),
        Target("cortex-m7", channel_multiple=4, simd_width=8),
        Target("cortex-m33", channel_multiple=4, simd_width=8),
        Target("cortex-m55", channel_multiple=4, simd_width=4),
        Target("x86", channel_multiple=8, simd_width=8, parallelism="moderate"),
        Target("x86-avx2", channel_multiple=8, simd_width=8, parallelism="moderate"),
        Target("x86-avx512", channel_multiple=16, simd_width=16, parallelism="moderate"),
        Target("cuda", channel_multiple=8, simd_width=32, parallelism="high"),
        Target("cuda-sm80", channel_multiple=8, simd_width=32, parallelism="high"),
        Target("cuda-sm86", channel_multiple=8, simd_width=32, parallelism="high"),
        Target("cuda-sm89", channel_multiple=8, simd_width=32, parallelism="high"),
        Target("cuda-sm90", channel_multiple=8, simd_width=32, parallelism="high"),
    )
}


def target(name: str) -> Target:
    """A target by name. Raises PruneirError, with near matches, for a name that is none."""
    if name not in TARGETS:
        raise PruneirError(f"--target: there is no target '{name}'; {did_you_mean(name, TARGETS, 'targets are')}")
    return TARGETS[name]
