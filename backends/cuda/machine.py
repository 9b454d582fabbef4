"""A built library on a device: runs, and times of its kernels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

Array = np.ndarray[Any, Any]

RUNS = 5
"""Of which the least time of each kernel counts."""


@dataclass(slots=True)
class Machine:
    """A library, loaded.

    library  path of the library
    device   TVM's
    """

    library: Path
    device: Any
    vm: Any = field(init=False)

    def __post_init__(self) -> None:
        self.vm = relax.VirtualMachine(tvm.runtime.load_module(str(self.library)), self.device)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs, in order."""
        found = self.vm["main"](*self._there(inputs))
        return [each.numpy() for each in ([found] if hasattr(found, "numpy") else found)]

    def ms(self, inputs: Sequence[Array]) -> float:
        """Of one run, inputs and outputs on the device: the median of 20 measurements of several runs each."""
        timed = self.vm.time_evaluator("main", self.device, number=3, repeat=20, min_repeat_ms=5)
        return float(np.median(timed(*self._there(inputs)).results)) * 1e3

    def kernel_ms(self, inputs: Sequence[Array]) -> list[tuple[str, float]]:
        """Each call of a function, with its time; the device is waited for, so that starting a kernel counts too."""
        arrays = self._there(inputs)
        best: list[tuple[str, float]] = []
        for _ in range(RUNS):
            found = self._instrumented(arrays)
            best = [(n, min(a, b)) for (n, a), (_, b) in zip(best or found, found, strict=True)]
        return best

    def _instrumented(self, arrays: list[Any]) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        started = 0.0

        def watch(function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
            nonlocal started
            del function, result, arguments
            self.device.sync()
            if before:
                started = time.perf_counter()
            else:
                found.append((str(name), (time.perf_counter() - started) * 1e3))
            return 0

        self.vm.set_instrument(watch)
        try:
            self.vm["main"](*arrays)
        finally:
            self.vm.set_instrument(lambda *arguments: 0)
        return found

    def _there(self, inputs: Sequence[Array]) -> list[Any]:
        return [tvm.runtime.tensor(np.ascontiguousarray(each), self.device) for each in inputs]
