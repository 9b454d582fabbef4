"""Micro-kernels for weights without their zeros, on the scalar FPU of Cortex-M4, M7 and M33.

vldmia address, {inputs of all points}      for each group
vldmia w!, {weights of the group}           of several groups where registers are left, or of a part of one
vfma   sum, input, weight                   filters · points · block times
"""

from __future__ import annotations

from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge, Written
from pruneir.backends.cortex_m.assembly.panels import PanelWriter
from pruneir.backends.cortex_m.assembly.scalars import AT_ONCE, REGISTERS, Scalars, listed

_NEAR, _ADDED = 1020, 4095
"""Bytes that a load reaches, and that one addition adds."""


def write(name: str, nest: Nest, *, extremes: bool = False) -> Written:
    """The micro-kernel of a nest with a stream. TooLarge where its registers do not fit.

    extremes  whether there is an instruction for the larger of two numbers
    """
    return _Sparse(name, nest, extremes=extremes).written()


class _Sparse(PanelWriter, Scalars):
    counter = "r4"
    words = ("r5", "r6", "r7", "r8")

    def __init__(self, name: str, nest: Nest, *, extremes: bool):
        Scalars.__init__(self, name, nest, extremes=extremes)
        self.saves = False
        self.divide()
        loops = len(nest.steps) + (self.parts[0][0] > 1)
        left = list(self.pointers[3 + len(self.done.operands) :])
        self.distances, *outer = *left, "r11", "r12", "lr"
        if loops > len(outer):
            raise TooLarge(f"{loops} loops over tiles")
        self.outer = tuple(outer)

    def plan(self) -> None:
        nest, block = self.nest, self.stream.block
        self.sums = nest.filters * nest.points
        near = (nest.points - 1) * nest.step + 1
        self.run = near if near <= 2 * nest.points and near <= AT_ONCE else 0
        self.inputs = block if block > 1 else self.run or nest.points
        self.weights = self.sums + self.inputs
        self.batch = min(REGISTERS - self.weights, AT_ONCE, self.stream.unroll * block * nest.filters)
        if self.batch < 1 or (block > 1 and nest.points > 1) or nest.step < 0:
            raise TooLarge(f"{nest.filters} × {nest.points} sums, {block} inputs at once")
        self.plan_finish()
        self.saves = self.saves or max(self.weights + self.batch, self.top) > AT_ONCE

    def enter(self) -> None:
        super().enter()
        if self.layer.steps:
            self.op("sub sp, #8")
            self.op("str r2, [sp]")

    def leave(self) -> None:
        if self.layer.steps:
            self.op("add sp, #8")
        super().leave()

    def rewind(self) -> None:
        if self.layer.steps:
            self.op("ldr r2, [sp]")

    def group(self, number: int, address: str) -> None:
        nest, block = self.nest, self.stream.block
        self._inputs(address)
        apart = nest.step if self.run else 1
        for term in range(block):
            inputs = [self.sums + term + point * apart for point in range(nest.points)]
            for index in range(nest.filters):
                weight = self._weight((number * block + term) * nest.filters + index)
                for point, register in enumerate(inputs):
                    self.op(f"vfma.f32 s{index * nest.points + point}, s{register}, s{weight}")

    def _inputs(self, address: str) -> None:
        """The inputs of all points, or of a block."""
        if self.run or self.stream.block > 1:
            self.op(f"vldmia {address}, {listed(self.sums, self.inputs)}")
            return
        moved = 0
        for point in range(self.nest.points):
            offset = 4 * point * self.nest.step
            if offset - moved > _NEAR:
                if offset - moved > _ADDED:
                    raise TooLarge("the points' inputs are too far apart")
                self.op(f"addw {address}, {address}, #{offset - moved}")
                moved = offset
            self.op(f"vldr s{self.sums + point}, [{address}, #{offset - moved}]")

    def _weight(self, number: int) -> int:
        """The register of one of a turn's weights; where it begins a batch, that is fetched."""
        place = number % self.batch
        if place == 0:
            left = self.stream.unroll * self.stream.block * self.nest.filters - number
            self.op(f"vldmia r2!, {listed(self.weights, min(self.batch, left))}")
        return self.weights + place
