"""The micro-kernels of a network: what writes them for a processor, and each that was asked for, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pruneir.backends.cortex_m.assembly import fpv4, mve, skip, sparse_fpv4, sparse_mve
from pruneir.backends.cortex_m.assembly.nest import Nest, Written
from pruneir.backends.cortex_m.assembly.scatter import Scatter
from pruneir.backends.cortex_m.assembly.vectors import LANES
from pruneir.backends.cortex_m.choose import Write
from pruneir.backends.cortex_m.cpus import Cpu


@dataclass(slots=True)
class MicroKernels:
    """Those of one network on one processor, in the order in which they were asked for."""

    cpu: Cpu
    names: dict[Nest | Scatter, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    @property
    def write(self) -> Write:
        """What writes micro-kernels for nests."""
        dense = mve.write if self.cpu.mve else partial(fpv4.write, extremes=self.cpu.extremes)
        streamed = sparse_mve.write if self.cpu.mve else partial(sparse_fpv4.write, extremes=self.cpu.extremes)

        def written(name: str, nest: Nest) -> Written:
            return dense(name, nest) if nest.stream is None else streamed(name, nest)

        return written

    @property
    def lanes(self) -> tuple[int, ...]:
        """How many filters a vector may hold."""
        return (1, LANES) if self.cpu.mve else (1,)

    def nest(self, nest: Nest) -> str:
        """What the micro-kernel of a nest is called."""
        own = nest.merged()
        return self._named(own, "tile", lambda name: self.write(name, own).text)

    def scatter(self, what: Scatter) -> str:
        """What the micro-kernel that skips inputs is called."""
        own = what.merged()
        return self._named(own, "scatter", lambda name: skip.write(name, own).text)

    def source(self) -> str:
        """All of them, in assembly; empty where there are none."""
        return "\n".join(["    .syntax unified", "    .thumb", "    .text", "", *self.texts]) if self.texts else ""

    def _named(self, what: Nest | Scatter, kind: str, text: Callable[[str], str]) -> str:
        if what not in self.names:
            name = f"{kind}_{len(self.names)}"
            self.texts.append(text(name))
            self.names[what] = name
        return self.names[what]
