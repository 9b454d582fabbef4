"""Architectures that there is code for, by target."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Archs:
    """What one target's library holds.

    machine  architectures with machine code, in order
    ptx      architecture of the PTX for later machines; None without one
    """

    machine: tuple[int, ...]
    ptx: int | None = None

    @property
    def least(self) -> int:
        """The oldest, for which kernels are written."""
        return self.machine[0]

    @property
    def flags(self) -> list[str]:
        """nvcc's."""
        codes = [(arch, f"sm_{arch}") for arch in self.machine] + ([(self.ptx, f"compute_{self.ptx}")] * bool(self.ptx))
        return [part for arch, code in codes for part in ("-gencode", f"arch=compute_{arch},code={code}")]

    def runs_on(self, capability: int) -> bool:
        """Whether a machine of that compute capability, such as 86, can run it."""
        same = any(arch // 10 == capability // 10 and arch <= capability for arch in self.machine)
        return same or (self.ptx is not None and self.ptx <= capability)


ARCHS = {
    "cuda": Archs((80, 86, 89, 90), ptx=90),
    **{f"cuda-sm{arch}": Archs((arch,)) for arch in (80, 86, 89, 90)},
}
