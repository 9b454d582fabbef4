"""Micro-kernels for the vectors of Cortex-M55: 8 registers of four floats, four multiply-adds an instruction.

A vector is multiplied by a number in a core register. Either it holds the inputs of four neighbouring points, and the
number is a weight, or the weights of four filters, and the number is an input:

    points   vldrw q7, [x]     ldm w!, {weights of all filters}     vfma sums, q7, weight
    filters  vldrw q7, [w]     ldr inputs of all points             vfma sums, q7, input
"""

from __future__ import annotations

from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge, Written
from pruneir.backends.cortex_m.assembly.writer import MOST, Writer

_LANES, _VECTOR = 4, 7
"""Floats in a vector; the register that vectors are loaded to."""
_NUMBERS = ("r3", "r4", "r5", "r6", "r7", "r8")
_FARTHEST = 508
"""Bytes that a vector load reaches."""


def write(name: str, nest: Nest) -> Written:
    """The micro-kernel of a nest, over points or filters. TooLarge where neither are whole vectors, or too many."""
    if nest.step == 1 and nest.points % _LANES == 0:
        return _OverPoints(name, nest).written()
    if nest.filters % _LANES == 0:
        return _OverFilters(name, nest).written()
    raise TooLarge(f"{nest.filters} × {nest.points} sums are no whole vectors")


class _Vectors(Writer):
    counters = ("r9", "r10", "r11", "r12")
    scratch = "lr"

    def enter(self) -> None:
        self.op("push {r3-r11, lr}")
        self.op("vpush {d8-d15}")
        for index in range(self.sums):
            self.op(f"vmov.i32 q{index}, #0")

    def exit(self) -> None:
        """Restore what `enter` saved, and return."""
        self.op("vpop {d8-d15}")
        self.op("pop {r3-r11, pc}")

    def _fit(self, sums: int, numbers: int) -> None:
        """TooLarge unless there are registers for so many sums, and numbers to multiply by."""
        if sums > _VECTOR or numbers > len(_NUMBERS):
            raise TooLarge(f"{self.nest.filters} × {self.nest.points} sums of {self.nest.terms} terms")
        self.sums = sums

    def _unrolled(self, reach: int) -> int:
        """Terms of the innermost loop whose inputs a load reaches without moving x."""
        length, stride = self.nest.reduction[-1]
        most = (_FARTHEST // 4 - reach) // max(abs(stride), 1) + 1
        if stride < 0 or most < 1:
            raise TooLarge("the terms' inputs are too far apart")
        return length if length <= min(most, MOST) else max(1, min(most, 8))


class _OverPoints(_Vectors):
    def plan(self) -> None:
        self.vectors = self.nest.points // _LANES
        self._fit(self.nest.filters * self.vectors, self.nest.filters)
        self.unroll = self._unrolled(self.nest.points)

    def block(self, count: int, stride: int) -> None:
        filters = self.nest.filters
        for term in range(count):
            self.op(f"ldr r3, [r2], #{4}" if filters == 1 else f"ldm r2!, {{{', '.join(_NUMBERS[:filters])}}}")
            for vector in range(self.vectors):
                self.op(f"vldrw.u32 q{_VECTOR}, [r1, #{4 * (term * stride + _LANES * vector)}]")
                for index in range(filters):
                    self.op(f"vfma.f32 q{index * self.vectors + vector}, q{_VECTOR}, {_NUMBERS[index]}")
        if self.moves:
            self.add("r1", count * stride)

    def leave(self) -> None:
        for index in range(self.sums):
            self.op(f"vstrw.32 q{index}, [r0, #{16 * index}]")
        self.exit()


class _OverFilters(_Vectors):
    def plan(self) -> None:
        self.vectors = self.nest.filters // _LANES
        self._fit(self.vectors * self.nest.points, self.nest.points)
        self.unroll = self._unrolled((self.nest.points - 1) * self.nest.step)

    def block(self, count: int, stride: int) -> None:
        points = self.nest.points
        for term in range(count):
            for point in range(points):
                self.op(f"ldr {_NUMBERS[point]}, [r1, #{4 * (term * stride + point * self.nest.step)}]")
            for vector in range(self.vectors):
                self.op(f"vldrw.u32 q{_VECTOR}, [r2], #16")
                for point in range(points):
                    self.op(f"vfma.f32 q{vector * points + point}, q{_VECTOR}, {_NUMBERS[point]}")
        if self.moves:
            self.add("r1", count * stride)

    def leave(self) -> None:
        """Sums of one point lie `points` apart."""
        points = self.nest.points
        self.op("movs r4, #0")
        self.op(f"vidup.u32 q{_VECTOR}, r4, #1")
        self.set("r5", 4 * points)
        self.op(f"vmul.i32 q{_VECTOR}, q{_VECTOR}, r5")
        for vector in range(self.vectors):
            for point in range(points):
                self.op(f"vstrw.32 q{vector * points + point}, [r0, q{_VECTOR}]")
                last = point == points - 1
                self.add("r0", 1 if not last else _LANES * points - points + 1)
        self.exit()
