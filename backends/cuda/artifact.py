"""A built library: runs where there is a GPU that it has code for, and says what is missing where there is none."""

# ruff: noqa: PLC0415 - TVM is imported when it runs
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pruneir.artifact import Array, Artifact, LayerProfile, Profile
from pruneir.backends.cuda.archs import ARCHS
from pruneir.errors import PruneirError

LIBRARY = "model.so"


@dataclass(frozen=True)
class CudaArtifact(Artifact):
    """A folder with `model.so`."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name. PruneirError where there is no GPU for it."""
        found = self._machine.run(self._ordered(inputs))
        return {port.name: array for port, array in zip(self.manifest.outputs, found, strict=True)}

    def profile(self, inputs: Mapping[str, Array]) -> Profile:
        """Milliseconds in total, and of each kernel with its start. PruneirError where there is no GPU for it."""
        arrays = self._ordered(inputs)
        layers = tuple(timed(self.manifest.details["layers"], self._machine.kernel_ms(arrays)))
        sizes = self.manifest.sizes
        return Profile(
            macs=sum(layer.macs for layer in layers),
            layers=layers,
            ms=self._machine.ms(arrays),
            flash=sizes.flash,
            ram=sizes.ram,
            machine=str(self._machine.device.device_name),
        )

    @cached_property
    def _machine(self) -> Any:
        """The library on the first GPU."""
        try:
            import tvm

            from pruneir.backends.cuda.machine import Machine
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("tvm", "tvm_ffi"):
                raise
            raise PruneirError("CUDA: TVM is not installed; pip install 'pruneir[tvm]'") from None

        device = tvm.cuda(0)
        if not device.exist:
            raise PruneirError(
                f"{self.folder}: no CUDA device here; run it on a machine with an NVIDIA GPU, its driver and CUDA 13's"
                " libcudart (pip install 'nvidia-cuda-runtime==13.*')"
            )
        capability = int(str(device.compute_version).replace(".", ""))
        if not ARCHS[self.manifest.target].runs_on(capability):
            raise PruneirError(
                f"{self.folder}: is compiled for {self.manifest.target}, and the GPU here is sm_{capability};"
                " compile it with --target cuda"
            )
        try:
            return Machine(self.folder / LIBRARY, device)
        except (RuntimeError, OSError) as error:
            raise PruneirError(f"{self.folder}/{LIBRARY}: does not load: {str(error).splitlines()[0]}") from None

    def _ordered(self, inputs: Mapping[str, Array]) -> list[Array]:
        return [inputs[port.name] for port in self.manifest.inputs]


def timed(steps: list[dict[str, Any]], calls: list[tuple[str, float]]) -> Iterator[LayerProfile]:
    """The steps with the times of their calls; other calls, such as those for memory, are left out."""
    rest = iter(calls)
    for step in steps:
        ms = next((taken for name, taken in rest if name == step["kernel"]), None)
        yield LayerProfile(**step, ms=ms)
