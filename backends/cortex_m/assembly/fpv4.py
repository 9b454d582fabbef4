"""Micro-kernels for the scalar FPU of Cortex-M4, M7 and M33: 32 single registers, one multiply-add an instruction.

Loads are what can be saved: `vldm` fetches up to a whole row of inputs, or the weights of several terms, in one
instruction. The sums stay in s0…, the inputs follow them, the weights are behind.

    vldmia x, {inputs of all points}        as one run where the points' inputs overlap or touch, else one by one
    vldmia w!, {weights of some terms}
    vfma   sum, input, weight               filters · points times a term
"""

from __future__ import annotations

from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge, Written
from pruneir.backends.cortex_m.assembly.scalars import AT_ONCE, REGISTERS, Scalars, listed
from pruneir.backends.cortex_m.assembly.writer import MOST


def write(name: str, nest: Nest, *, extremes: bool = False) -> Written:
    """The micro-kernel of a nest. TooLarge where its registers do not fit.

    extremes  whether there is an instruction for the larger of two numbers
    """
    return _Scalar(name, nest, extremes=extremes).written()


class _Scalar(Scalars):
    def plan(self) -> None:
        nest = self.nest
        self.sums = self.weights = nest.filters * nest.points
        self.batch = 0
        if self.sums > REGISTERS:
            raise TooLarge(f"{nest.filters} × {nest.points} sums")
        if nest.reduction:
            self._plan_terms(*nest.reduction[-1])
        self.plan_finish()
        self.saves = max(self.weights + self.batch * nest.filters, self.top) > AT_ONCE

    def _plan_terms(self, length: int, stride: int) -> None:
        """Registers for inputs and weights, and how many terms at once."""
        nest = self.nest
        weights = nest.filters * nest.weighted
        fitting = [n for n in range(1, min(length, MOST) + 1) if n == length or n <= AT_ONCE]
        fitting = [n for n in fitting if self.sums + self._inputs(n, stride) + weights <= REGISTERS]
        if not fitting:
            raise TooLarge(f"{nest.filters} × {nest.points} sums of {nest.terms} terms")
        self.unroll = fitting[-1]
        self.weights = self.sums + self._inputs(self.unroll, stride)
        if weights:
            self.batch = min(self.unroll, (REGISTERS - self.weights) // weights, AT_ONCE // weights or 1)

    def gathers(self, count: int, stride: int) -> bool:
        return self._run(count, stride) is None

    def block(self, count: int, stride: int) -> None:
        points, run = range(self.nest.points), self._run(count, stride)
        if run is not None and self.sums + run <= self.weights:
            for start in range(0, run, AT_ONCE):
                at = "r1" if not start else "r8"
                if start:
                    self.op(f"addw r8, r1, #{4 * start}")
                self.op(f"vldmia {at}, {listed(self.sums + start, min(AT_ONCE, run - start))}")
            for term in range(count):
                weights = self._fetched(term, count)
                self._multiply([self.sums + p * self.nest.step + term * stride for p in points], weights)
            if self.moves:
                self.add("r1", count * stride)
            return
        for term in range(count):
            self._gather()
            self.add("r1", stride)
            self._multiply([self.sums + p for p in points], self._fetched(term, count))

    def _run(self, count: int, stride: int) -> int | None:
        """Length of the run of inputs that covers `count` terms of all points; None if it would be mostly gaps."""
        points, step = self.nest.points, self.nest.step
        if stride < 0 or step < 0:
            return None
        span = (points - 1) * step + (count - 1) * stride + 1
        distinct = len({p * step + r * stride for p in range(points) for r in range(count)})
        return span if span <= 2 * distinct else None

    def _inputs(self, count: int, stride: int) -> int:
        return self._run(count, stride) or self.nest.points

    def _gather(self) -> None:
        """The inputs of all points for one term."""
        points, step = self.nest.points, self.nest.step
        if step == 1 and points > 1:
            self.op(f"vldmia r1, {listed(self.sums, points)}")
            return
        for point in range(points):
            offset = 4 * point * step
            if offset > 1020:
                raise TooLarge("the points' inputs are too far apart")
            self.op(f"vldr s{self.sums + point}, [r1, #{offset}]")

    def _fetched(self, term: int, count: int) -> int:
        """The first register of a term's weights, fetched with those of the next if there is room."""
        filters = self.nest.filters
        if not self.nest.weighted:
            return 0
        if term % self.batch == 0:
            self.op(f"vldmia r2!, {listed(self.weights, min(self.batch, count - term) * filters)}")
        return self.weights + term % self.batch * filters

    def _multiply(self, inputs: list[int], weights: int) -> None:
        if not self.nest.weighted:
            for point, register in enumerate(inputs):
                self.op(f"vadd.f32 s{point}, s{point}, s{register}")
            return
        for index in range(self.nest.filters):
            for point, register in enumerate(inputs):
                self.op(f"vfma.f32 s{index * self.nest.points + point}, s{register}, s{weights + index}")
