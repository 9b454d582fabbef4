"""Micro-kernels for weights without their zeros, on the vectors of Cortex-M55.

points   vldrw q7, [address]    ldm w!, {weights of some groups}     vfma sums, q7, weight
filters  vldrw q7, [w]          ldr inputs of all points             vfma sums, q7, input

Sums of one point whose filters are no vectors are left to the scalar FPU.
"""

from __future__ import annotations

from pruneir.backends.cortex_m.assembly.mve import OverFilters, OverPoints
from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge, Written
from pruneir.backends.cortex_m.assembly.panels import PanelWriter
from pruneir.backends.cortex_m.assembly.sparse_fpv4 import write as scalar
from pruneir.backends.cortex_m.assembly.vectors import LANES, NUMBERS, VECTOR, Vectors

_FARTHEST = 4095
"""Bytes that a load of one number reaches."""


def write(name: str, nest: Nest) -> Written:
    """The micro-kernel of a nest with a stream. TooLarge where its registers do not fit."""
    assert nest.stream is not None
    if nest.stream.lanes == LANES:
        return _Filters(name, nest).written()
    if nest.points == 1:
        return scalar(name, nest, extremes=True)
    if nest.stream.block > 1:
        raise TooLarge(f"{nest.stream.block} terms of {nest.points} points at once")
    return _Points(name, nest).written()


class _Streamed(PanelWriter, Vectors):
    """The stack holds where the stream begins, counters of tiles and of panels, and what all vectors have there."""

    counter, distances = "lr", "r12"
    words = ("r9", "r10", "r11")

    def __init__(self, name: str, nest: Nest):
        Vectors.__init__(self, name, nest)
        self.divide()
        self.room = 24
        if len(nest.steps) > 3:
            raise TooLarge("too many loops over tiles")

    def enter(self) -> None:
        """Save where the stream begins, too."""
        super().enter()
        self.op("str r2, [sp, #16]")

    def rewind(self) -> None:
        """From the stack."""
        if self.layer.steps:
            self.op("ldr r2, [sp, #16]")


class _Points(_Streamed, OverPoints):
    def group(self, number: int, address: str) -> None:
        filters = self.nest.filters
        for vector in range(self.vectors):
            self.access("ldr", VECTOR, address, None if self.gathered else LANES * vector, vector)
            if self.gathered and vector < self.vectors - 1:
                self.op(f"addw {address}, {address}, #{4 * LANES * self.nest.step}")
            for index in range(filters):
                weight = self._weight(number * filters + index) if vector == 0 else self._held(number * filters + index)
                self.op(f"vfma.f32 q{index * self.vectors + vector}, q{VECTOR}, {weight}")

    def _held(self, number: int) -> str:
        return NUMBERS[number % self._batch]

    @property
    def _batch(self) -> int:
        """Weights that are fetched at once: of some groups, for several vectors read them again."""
        filters = self.nest.filters
        return min(len(NUMBERS) // filters, self.stream.unroll) * filters

    def _weight(self, number: int) -> str:
        """The register of one of a turn's weights; where it begins a batch, that is fetched."""
        if number % self._batch == 0:
            count = min(self._batch, self.stream.unroll * self.nest.filters - number)
            self.op(f"ldm r2!, {{{', '.join(NUMBERS[:count])}}}" if count > 1 else f"ldr {NUMBERS[0]}, [r2], #4")
        return self._held(number)


class _Filters(_Streamed, OverFilters):
    def start(self) -> None:
        if not self.whole:
            self.op(f"movs r4, #{self.nest.filters % LANES}")
            self.op("vctp.32 r4")
        super().start()

    def unrolled(self, reach: int) -> int:
        return 1

    def group(self, number: int, address: str) -> None:
        points, step, block = self.nest.points, self.nest.step, self.stream.block
        if 4 * ((points - 1) * abs(step) + block) > _FARTHEST or step < 0:
            raise TooLarge("the points' inputs are too far apart")
        for term in range(block):
            for point in range(points):
                self.op(f"ldr {NUMBERS[point]}, [{address}, #{4 * (term + point * step)}]")
            for vector in range(self.vectors):
                self.op(f"vldrw.u32 q{VECTOR}, [r2], #16")
                for point in range(points):
                    self.op(f"vfma.f32 q{vector * points + point}, q{VECTOR}, {NUMBERS[point]}")
