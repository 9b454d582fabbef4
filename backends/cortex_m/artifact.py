"""A compiled project: runs in QEMU, and says what a run takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from pruneir.artifact import Array, Artifact, LayerProfile, Profile
from pruneir.backends.cortex_m import toolchain
from pruneir.backends.cortex_m.cpus import Cpu, cpu
from pruneir.backends.cortex_m.qemu import Firmware

TOGETHER = 64
"""Samples for one start of QEMU."""


@dataclass(frozen=True)
class CortexMArtifact(Artifact):
    """A folder with a C project, and the firmware that was built of it."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name. PruneirError if QEMU is missing, and for a fault."""
        outputs: dict[str, Array] = self._firmware("model").run([inputs]).outputs[0]
        return outputs

    def run_all(self, batches: Iterable[Mapping[str, Array]]) -> Iterator[dict[str, Array]]:
        """The outputs of many runs, many to a start of QEMU."""
        waiting = iter(batches)
        while samples := list(islice(waiting, TOGETHER)):
            yield from self._firmware("model").run(samples).outputs

    def profile(self, inputs: Mapping[str, Array]) -> Profile:
        """Instructions in total, and step by step as a second firmware counts them, without the counting itself."""
        whole, steps = self._firmware("model").run([inputs]), self._firmware("profile").run([inputs]).steps
        details, sizes = self.manifest.details, self.manifest.sizes
        layers = tuple(
            LayerProfile(**layer, instructions=count) for layer, count in zip(details["layers"], steps, strict=True)
        )
        return Profile(
            macs=sum(layer.macs for layer in layers),
            layers=layers,
            instructions=whole.instructions,
            flash=sizes.flash,
            ram=None if sizes.ram is None else replace(sizes.ram, stack=whole.stack),
            arena_lower_bound=details["arena"]["lower_bound"],
            machine=f"QEMU {self.cpu.board.machine}",
        )

    @property
    def cpu(self) -> Cpu:
        """The processor that it is for."""
        return cpu(self.manifest.target)

    def _firmware(self, name: str) -> Firmware:
        elf = self.folder / toolchain.BUILT / f"{name}.elf"
        if not elf.exists():
            toolchain.build(self.folder)
        return Firmware(elf, self.cpu, self.manifest.inputs, self.manifest.outputs)
