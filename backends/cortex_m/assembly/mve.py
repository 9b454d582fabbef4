"""Micro-kernels for the vectors of Cortex-M55: 8 registers of four floats, four multiply-adds an instruction.

A vector is multiplied by a number in a core register. Either it holds the inputs of four neighbouring points, and the
number is a weight, or the weights of four filters, and the number is an input:

    points   vldrw q7, [x]     ldm w!, {weights of all filters}     vfma sums, q7, weight
    filters  vldrw q7, [w]     ldr inputs of all points             vfma sums, q7, input
"""

from __future__ import annotations

from pruneir.backends.cortex_m.assembly.finish import Operand
from pruneir.backends.cortex_m.assembly.nest import Nest, TooLarge, Written
from pruneir.backends.cortex_m.assembly.vectors import FARTHEST, LANES, NUMBERS, VECTOR, Vectors


def write(name: str, nest: Nest) -> Written:
    """The micro-kernel of a nest, over points or filters. TooLarge where neither are vectors, or too many."""
    if nest.filters % LANES == 0 and nest.reduction and (nest.step != 1 or nest.points % LANES):
        return OverFilters(name, nest).written()
    if nest.points > 1:
        return OverPoints(name, nest).written()
    raise TooLarge(f"{nest.filters} × {nest.points} sums are no vectors")


class OverPoints(Vectors):
    """Vectors of points, the last of a row in part; points whose inputs are apart are gathered."""

    def plan(self) -> None:
        """Registers for vectors of sums."""
        self.vectors = -(-self.nest.points // LANES)
        self.whole = self.nest.points % LANES == 0
        self.gathered = self.nest.step != 1
        self.fit(self.nest.filters * self.vectors, self.nest.filters, kept=self.gathered)
        if self.nest.reduction:
            self.unroll = self.unrolled(self.nest.points if not self.gathered else 0)
        if self.done.points != 1:
            raise TooLarge("points are stored apart")

    def gathers(self, count: int, stride: int) -> bool:
        """Where points are apart."""
        return self.gathered

    def enter(self) -> None:
        """A predicate for the last vector of a row, and distances."""
        super().enter()
        if not self.whole:
            self.op(f"movs r4, #{self.nest.points % LANES}")
            self.op("vctp.32 r4")
        if self.gathered:
            self.offsets(VECTOR - 1, self.nest.step)

    def start(self) -> None:
        """Zeros, biases, or what an operand holds."""
        if self.done.bias is None:
            self.zeros()
            return
        operand = self.done.operands[self.done.bias]
        apart = operand.filters
        if operand.points:
            self._loaded(self.done.bias, operand)
            return
        self.op(f"ldr lr, {self.slot(self.done.bias)}")
        for index in range(self.nest.filters):
            self.op(f"ldr {NUMBERS[index]}, [lr, #{4 * index * apart}]")
            for vector in range(self.vectors):
                self.op(f"vdup.32 q{index * self.vectors + vector}, {NUMBERS[index]}")

    def _loaded(self, k: int, operand: Operand) -> None:
        """What an operand holds, for sums."""
        if operand.points != 1:
            raise TooLarge("an operand whose points are apart")
        self.op(f"ldr r9, {self.slot(k)}")
        for index in range(self.nest.filters):
            for vector in range(self.vectors):
                self.access("ldr", index * self.vectors + vector, "r9", LANES * vector, vector)
            self.add("r9", operand.filters if index < self.nest.filters - 1 else 0)

    def block(self, count: int, stride: int) -> None:
        """Vectors of inputs times numbers."""
        filters = self.nest.filters if self.nest.weighted else 0
        for term in range(count):
            if filters:
                self.op("ldr r3, [r2], #4" if filters == 1 else f"ldm r2!, {{{', '.join(NUMBERS[:filters])}}}")
            for vector in range(self.vectors):
                if not self.gathered:
                    self.access("ldr", VECTOR, "r1", term * stride + LANES * vector, vector)
                else:
                    self.access("ldr", VECTOR, "r1", None, vector)
                    last = vector == self.vectors - 1
                    ahead = LANES * self.nest.step
                    self.add("r1", stride - ahead * (self.vectors - 1) if last else ahead)
                for index in range(filters):
                    self.op(f"vfma.f32 q{index * self.vectors + vector}, q{VECTOR}, {NUMBERS[index]}")
                if not filters:
                    self.op(f"vadd.f32 q{vector}, q{vector}, q{VECTOR}")
        if self.moves and not self.gathered:
            self.add("r1", count * stride)

    def access(self, word: str, register: int, at: str, offset: int | None, vector: int) -> None:
        """Load or store a vector of a row, as much of the last one as there are points; gathered without an offset."""
        inside = vector < self.vectors - 1 or self.whole
        kind = "u32" if word == "ldr" else "32"
        if not inside:
            self.op("vpst")
        place = f"q{VECTOR - 1}" if offset is None else f"#{4 * offset}"
        self.op(f"v{word}w{'' if inside else 't'}.{kind} q{register}, [{at}, {place}]")

    def finish(self) -> None:
        """Row by row."""
        self.prepared()
        for index in range(self.nest.filters):
            for vector in range(self.vectors):
                own = index * self.vectors + vector
                self.computed(own, lambda k, to, at=(index, vector): self._load(k, to, *at))  # type: ignore[misc]
                self.access("str", own, "r0", LANES * vector, vector)
            if index < self.nest.filters - 1:
                self.move(0, self.done.filters)
        self.moved[0] = (self.nest.filters - 1) * self.done.filters

    def _load(self, k: int, to: int, index: int, vector: int) -> None:
        operand = self.done.operands[k]
        if operand.points == 0:
            self.op(f"ldr lr, [r{9 + k}, #{4 * index * operand.filters}]")
            self.op(f"vdup.32 q{to}, lr")
            return
        at = index * operand.filters + LANES * vector
        if operand.points != 1:
            raise TooLarge("an operand whose points are apart")
        far = 4 * at > FARTHEST
        if far:
            self.set("lr", 4 * at)
            self.op(f"add lr, lr, r{9 + k}")
        self.access("ldr", to, "lr" if far else f"r{9 + k}", 0 if far else at, vector)


class OverFilters(Vectors):
    """Vectors of filters; where the last is one in part, a predicate says which there are."""

    def plan(self) -> None:
        """Registers for vectors of sums."""
        self.vectors = -(-self.nest.filters // LANES)
        self.whole = self.nest.filters % LANES == 0
        self.fit(self.vectors * self.nest.points, self.nest.points)
        self.unroll = self.unrolled((self.nest.points - 1) * self.nest.step)

    def start(self) -> None:
        """Zeros or biases."""
        if self.done.bias is None:
            self.zeros()
            return
        if self.done.operands[self.done.bias].filters != 1:
            raise TooLarge("biases that are apart")
        self.op(f"ldr lr, {self.slot(self.done.bias)}")
        for vector in range(self.vectors):
            first = vector * self.nest.points
            self.op(f"vldrw.u32 q{first}, [lr, #{16 * vector}]")
            for point in range(1, self.nest.points):
                self.op(f"vmov q{first + point}, q{first}")

    def block(self, count: int, stride: int) -> None:
        """Vectors of weights times numbers."""
        points = self.nest.points
        for term in range(count):
            for point in range(points):
                self.op(f"ldr {NUMBERS[point]}, [r1, #{4 * (term * stride + point * self.nest.step)}]")
            for vector in range(self.vectors):
                self.op(f"vldrw.u32 q{VECTOR}, [r2], #16")
                for point in range(points):
                    self.op(f"vfma.f32 q{vector * points + point}, q{VECTOR}, {NUMBERS[point]}")
        if self.moves:
            self.add("r1", count * stride)

    def finish(self) -> None:
        """Vectors whose filters are stored apart are stored, and operands like them loaded, by their distances."""
        together = self.done.filters == 1
        if not together:
            self.apart = self.taken()
            self.offsets(self.apart, self.done.filters)
        self.prepared()
        at = 0
        for vector in range(self.vectors):
            for point in range(self.nest.points):
                own = vector * self.nest.points + point
                to = vector * LANES * self.done.filters + point * self.done.points
                self.move(0, to - at)
                for k, operand in enumerate(self.done.operands):
                    if operand.points:
                        self.add(f"r{9 + k}", to - at)
                at = to
                self.computed(own, lambda k, to, vector=vector: self._load(k, to, vector))  # type: ignore[misc]
                self._access("strw", "32", own, f"[r0{'' if together else f', q{self.apart}'}]", vector)
        self.moved[0] = at

    def _access(self, word: str, kind: str, register: int, place: str, vector: int) -> None:
        """Load or store a vector, as much of the last one as there are filters."""
        inside = self.whole or vector < self.vectors - 1
        if not inside:
            self.op("vpst")
        self.op(f"v{word}{'' if inside else 't'}.{kind} q{register}, {place}")

    def _load(self, k: int, to: int, vector: int) -> None:
        operand = self.done.operands[k]
        if operand.points == 0 and operand.filters == 1:
            self._access("ldrw", "u32", to, f"[r{9 + k}, #{16 * vector}]", vector)
        elif (operand.filters, operand.points) == (self.done.filters, self.done.points):
            at = "" if self.done.filters == 1 else f", q{self.apart}"
            self._access("ldrw", "u32", to, f"[r{9 + k}{at}]", vector)
        else:
            raise TooLarge("an operand that lies unlike what is stored")
