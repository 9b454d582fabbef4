"""A compiled library as an artifact: runs by ctypes, measured in ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from time import perf_counter

import numpy as np

from pruneir.artifact import Array, Artifact, LayerProfile, Port, Profile
from pruneir.backends.x86.cpu import cores
from pruneir.backends.x86.library import Library
from pruneir.errors import PruneirError

ROUNDS = 30
SECONDS = 3.0
FEWEST = 5
"""Of a profile: rounds, fewer where they would take longer than so many seconds, but at least so many."""


@dataclass(frozen=True)
class X86Artifact(Artifact):
    """A folder with a library.

    asked  threads of a run; 0: as many as the manifest says, or else as there are cores
    """

    asked: int = 0

    @property
    def threads(self) -> int:
        """Threads that a run uses."""
        return self.asked or int(self.manifest.details["threads"]) or cores()

    def with_threads(self, threads: int) -> X86Artifact:
        """The same artifact, on another number of threads."""
        return replace(self, asked=threads)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name. PruneirError if the library is broken or needs another processor."""
        given = [inputs[port.name] for port in self.manifest.inputs]
        batch = self._batch(given)
        made = {port.name: np.empty(_shape(port, batch), port.dtype) for port in self.manifest.outputs}
        self.library.run(given, list(made.values()), 1 if batch is None else batch)
        return made

    def profile(self, inputs: Mapping[str, Array]) -> Profile:
        """Median times, in total and step by step, of runs that alternate; of a batch, its first sample alone."""
        given = [
            np.ascontiguousarray(inputs[port.name][:1]) if _is_free(port) else inputs[port.name]
            for port in self.manifest.inputs
        ]
        outputs = [np.empty(_shape(port, 1), port.dtype) for port in self.manifest.outputs]
        layers, details = self.manifest.details["layers"], self.manifest.details
        whole: list[float] = []
        steps: list[list[float]] = []
        self.library.run(given, outputs, 1)
        start = perf_counter()
        while len(whole) < FEWEST or (len(whole) < ROUNDS and perf_counter() - start < SECONDS):
            began = perf_counter()
            self.library.run(given, outputs, 1)
            whole.append(1e3 * (perf_counter() - began))
            steps.append(self.library.profile(given, outputs, len(layers)))
        return Profile(
            macs=sum(layer["macs"] for layer in layers),
            layers=tuple(
                LayerProfile(**layer, ms=median(ms)) for layer, ms in zip(layers, zip(*steps, strict=True), strict=True)
            ),
            ms=median(whole),
            least_ms=min(whole),
            peak_gflops=self._peak,
            threads=self.threads,
            flash=self.manifest.sizes.flash,
            ram=self.manifest.sizes.ram,
            arena_lower_bound=details["arena"]["lower_bound"],
            machine=f"{details['cpu']['name']}, {self.threads} thread{'s' * (self.threads != 1)}",
        )

    @cached_property
    def library(self) -> Library:
        """Loaded when it is first used, and kept."""
        found: Library = Library(self.folder, self.manifest, self.threads)
        return found

    @cached_property
    def _peak(self) -> float:
        return float(self.library.peak())

    def _batch(self, given: list[Array]) -> int | None:
        """Samples of a run; None where the batch is fixed."""
        sizes = {
            port.name: array.shape[0] for port, array in zip(self.manifest.inputs, given, strict=True) if _is_free(port)
        }
        if len({*sizes.values()}) > 1:
            told = ", ".join(f"{size} of '{name}'" for name, size in sizes.items())
            raise PruneirError(f"{self.folder}: takes as many samples of each input, but there are {told}")
        return next(iter(sizes.values()), None)


def _is_free(port: Port) -> bool:
    return bool(port.shape) and port.shape[0] is None


def _shape(port: Port, batch: int | None) -> tuple[int, ...]:
    return tuple(int(size if size is not None else batch or 0) for size in port.shape)
