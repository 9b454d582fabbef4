"""A firmware in QEMU: samples in by a file, outputs out by a file, and what the first sample took.

What is counted are instructions, which QEMU executes one per 64 ns of emulated time. They say nothing of pipelines,
caches, wait states or the memory's speed: they are not cycles and no time.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from pruneir.artifact import Array, Port
from pruneir.backends.cortex_m.cpus import Cpu
from pruneir.backends.cortex_m.project import STACK, qemu_flags
from pruneir.backends.cortex_m.toolchain import require
from pruneir.errors import PruneirError

PATIENCE = 600.0
"""Seconds that the samples of one start of QEMU may take."""


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a firmware.

    outputs       arrays by name, an entry a sample
    instructions  of the first sample, from the call of model_run to its return
    stack         most bytes that it had on the stack at once
    steps         instructions of every step, of a firmware that was built to count them
    """

    outputs: list[dict[str, Array]]
    instructions: int
    stack: int
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Firmware:
    """A program for a board, with what its files of inputs and outputs hold."""

    elf: Path
    cpu: Cpu
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, samples: Sequence[Mapping[str, Array]], patience: float = PATIENCE) -> Run:
        """Run it on samples, at least one.

        PruneirError if QEMU is missing or has no such board, for a fault, and for what does not end in `patience`
        seconds.
        """
        if not self.cpu.board.machine:
            raise PruneirError(f"{self.cpu.name}: QEMU has no board of it; compile for cortex-m4 to run the network")
        require("qemu-system-arm")
        with tempfile.TemporaryDirectory(prefix="pruneir-") as place:
            folder = Path(place)
            with (folder / "inputs.bin").open("wb") as file:
                for sample in samples:
                    file.writelines(packed(sample, self.inputs))
            said = self._emulated(folder, patience)
            return Run(
                self._read(folder / "outputs.bin", len(samples)),
                self._figure(said, "instructions"),
                self._figure(said, "stack"),
                tuple(int(each) for each in re.findall(r"^step (\d+)$", said, re.M)),
            )

    def _emulated(self, folder: Path, patience: float) -> str:
        """What it prints."""
        try:
            done = subprocess.run(
                ["qemu-system-arm", *qemu_flags(self.cpu).split(), "-kernel", str(self.elf.resolve())],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PruneirError(
                f"{self._what}: has not ended after {patience:.0f} s; a smaller network or input takes less"
            ) from None
        said = done.stdout + done.stderr
        if done.returncode:
            lines = said.splitlines()
            known = [line for line in lines if line.startswith(("fault", "error", "qemu"))]
            why = (known or lines or [f"exit code {done.returncode}"])[0]
            hint = f"; link.ld gives {STACK} bytes" if "stack overflow" in why else ""
            raise PruneirError(f"{self._what}: stopped: {why}{hint}")
        return said

    def _figure(self, said: str, name: str) -> int:
        found = re.search(rf"^{name} (\d+)$", said, re.M)
        if found is None:
            raise PruneirError(f"{self._what}: did not print its {name}; compile it again")
        return int(found[1])

    def _read(self, path: Path, samples: int) -> list[dict[str, Array]]:
        raw, start = path.read_bytes(), 0
        found: list[dict[str, Array]] = []
        for _ in range(samples):
            found.append({})
            for port in self.outputs:
                shape, dtype = tuple(size or 0 for size in port.shape), np.dtype(port.dtype)
                found[-1][port.name] = np.frombuffer(raw, dtype, prod(shape), start).reshape(shape).copy()
                start += found[-1][port.name].nbytes
        if start != len(raw):
            raise PruneirError(f"{self._what}: wrote {len(raw):,} bytes, not {start:,}; compile it again")
        return found

    @property
    def _what(self) -> str:
        return f"{self.elf} in QEMU ({self.cpu.board.machine})"


def packed(sample: Mapping[str, Array], ports: Sequence[Port]) -> list[bytes]:
    """A sample as inputs.bin holds it."""
    return [np.ascontiguousarray(sample[port.name], port.dtype).tobytes() for port in ports]
