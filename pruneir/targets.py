"""Machines as data: what a pass needs to know of the target that a network is shaped for."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from pruneir.errors import PruneirError


@dataclass(frozen=True, slots=True)
class Target:
    """One machine.

    name              as in `--target`
    channel_multiple  kept channel counts are rounded up to a multiple of this
    simd_width        float32 lanes that one instruction or one unrolled loop serves
    flash, ram        bytes that the board has; None where that is no limit
    """

    name: str
    channel_multiple: int = 1
    simd_width: int = 1
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
        Target("x86", channel_multiple=8, simd_width=8),
        Target("x86-avx2", channel_multiple=8, simd_width=8),
        Target("x86-avx512", channel_multiple=16, simd_width=16),
        Target("cuda", channel_multiple=8, simd_width=32),
        Target("cuda-sm80", channel_multiple=8, simd_width=32),
        Target("cuda-sm86", channel_multiple=8, simd_width=32),
        Target("cuda-sm89", channel_multiple=8, simd_width=32),
        Target("cuda-sm90", channel_multiple=8, simd_width=32),
    )
}


def target(name: str) -> Target:
    """A target by name. Raises PruneirError, with near matches, for a name that is none."""
    if name not in TARGETS:
        near = get_close_matches(name, TARGETS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"targets are {', '.join(TARGETS)}"
        raise PruneirError(f"--target: there is no target '{name}'; {hint}")
    return TARGETS[name]
