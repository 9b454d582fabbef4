"""Random networks from the operators that coupling knows, as hypothesis draws them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from pruneir.graph import Graph, parse

SIZE = 6


@dataclass
class _Builder:
    """Statements in text form, and the `[N, C, H, W]` values that they made."""

    draw: st.DrawFn
    lines: list[str] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    flat: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def value(self) -> str:
        return self.draw(st.sampled_from(sorted(self.channels)))

    def put(self, expression: str, channels: int) -> str:
        name = self.name("v")
        self.lines.append(f"{name} = {expression}")
        self.channels[name] = channels
        return name

    def int(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    # One method a layer

    def conv(self) -> None:
        x = self.value()
        c, out, k = self.channels[x], self.int(2, 10), self.draw(st.sampled_from([1, 3]))
        bias = f", {self.name('b')}[{out}]" if self.draw(st.booleans()) else ""
        self.put(f"Conv({x}, {self.name('w')}[{out},{c},{k},{k}]{bias}, pads={[k // 2] * 4})", out)

    def grouped(self) -> None:
        x = self.value()
        c = self.channels[x]
        group = self.draw(st.sampled_from([g for g in range(1, c + 1) if c % g == 0]))
        out = group * self.int(1, 3)
        self.put(f"Conv({x}, {self.name('w')}[{out},{c // group},1,1], group={group})", out)

    def transposed(self) -> None:
        x, out = self.value(), self.int(2, 8)
        w = f"{self.name('w')}[{self.channels[x]},{out},1,1]"
        self.put(f"ConvTranspose({x}, {w}, {self.name('b')}[{out}])", out)

    def norm(self) -> None:
        x = self.value()
        c = self.channels[x]
        self.put(f"BatchNormalization({x}, " + ", ".join(f"{self.name('n')}[{c}]" for _ in range(4)) + ")", c)

    def unary(self) -> None:
        x = self.value()
        f = self.draw(st.sampled_from(["Relu", "Sigmoid", "HardSwish", "Tanh", "LeakyRelu", "Softplus", "Identity"]))
        self.put(f"{f}({x})", self.channels[x])

    def scale(self) -> None:
        x = self.value()
        f = self.draw(st.sampled_from(["Add", "Mul", "Sub", "Div"]))
        shape = self.draw(st.sampled_from([f"[{self.channels[x]},1,1]", f"[1,{self.channels[x]},1,1]", "[1,1,1]"]))
        self.put(f"{f}({x}, {self.name('c')}{shape})", self.channels[x])

    def binary(self) -> None:
        x = self.value()
        same = [v for v, c in self.channels.items() if c == self.channels[x]]
        y = self.draw(st.sampled_from(sorted(same)))
        self.put(f"{self.draw(st.sampled_from(['Add', 'Mul', 'Max', 'Sum']))}({x}, {y})", self.channels[x])

    def gate(self) -> None:
        x = self.value()
        c, m = self.channels[x], self.int(1, 4)
        p = self.put(f"GlobalAveragePool({x})", c)
        q = self.put(f"Conv({p}, {self.name('w')}[{m},{c},1,1])", m)
        r = self.put(f"Conv({q}, {self.name('w')}[{c},{m},1,1], {self.name('b')}[{c}])", c)
        s = self.put(f"Sigmoid({r})", c)
        for small in (p, q, r, s):
            del self.channels[small]
        self.put(f"Mul({x}, {s})", c)

    def concat(self) -> None:
        parts = [self.value() for _ in range(self.int(2, 3))]
        total = sum(self.channels[p] for p in parts)
        if total <= 32:
            self.put(f"Concat({', '.join(parts)}, axis=1)", total)

    def split(self) -> None:
        x = self.value()
        c = self.channels[x]
        if c >= 4:
            first = self.int(1, c - 1)
            a, b = self.name("v"), self.name("v")
            self.lines.append(f"{a}, {b} = Split({x}, {{{first},{c - first}}}, axis=1)")
            self.channels |= {a: first, b: c - first}

    def slice(self) -> None:
        x = self.value()
        c = self.channels[x]
        start = self.int(0, c - 1)
        stop = self.int(start + 1, c)
        self.put(f"Slice({x}, {{{start}}}, {{{stop}}}, {{1}})", stop - start)

    def pad(self) -> None:
        x = self.value()
        before, after = self.int(0, 2), self.int(0, 2)
        self.put(f"Pad({x}, {{0,{before},0,0,0,{after},0,0}})", self.channels[x] + before + after)

    def shuffle(self) -> None:
        x = self.value()
        c = self.channels[x]
        g = self.draw(st.sampled_from([g for g in range(1, c + 1) if c % g == 0]))
        a, b = self.name("r"), self.name("r")
        self.lines.append(f"{a} = Reshape({x}, {{0,{g},{c // g},{SIZE},{SIZE}}})")
        self.lines.append(f"{b} = Transpose({a}, perm=[0,2,1,3,4])")
        self.put(f"Reshape({b}, {{0,{c},{SIZE},{SIZE}}})", c)

    def pool(self) -> None:
        x = self.value()
        kind = self.draw(st.sampled_from(["AveragePool", "MaxPool"]))
        self.put(f"{kind}({x}, kernel_shape=[3,3], pads=[1,1,1,1])", self.channels[x])

    def last(self) -> str:
        x = self.value()
        width = self.channels[x] * SIZE * SIZE
        ending = self.draw(st.sampled_from(["conv", "flatten", "reshape", "pooled", "channels last"]))
        if ending == "conv":
            return f"y = Conv({x}, last[3,{self.channels[x]},1,1])"
        if ending == "pooled":
            return f"p = GlobalAveragePool({x}); f = Flatten(p); y = Gemm(f, last[{self.channels[x]},3], lastb[3])"
        if ending == "channels last":
            return f"t = Transpose({x}, perm=[0,2,3,1]); y = MatMul(t, last[{self.channels[x]},3])"
        flat = f"Flatten({x})" if ending == "flatten" else f"Reshape({x}, {{0,-1}})"
        return f"f = {flat}; h = Gemm(f, wide[{width},4], wideb[4]); k = Relu(h); y = MatMul(k, last[4,3])"


_LAYERS = [name for name, f in vars(_Builder).items() if callable(f) and not name.startswith("_")]
_LAYERS = [name for name in _LAYERS if name not in ("name", "value", "put", "int", "last")]


@st.composite
def networks(draw: st.DrawFn, layers: int = 12) -> Graph:
    """A network of up to `layers` layers on a `[N, 3, 6, 6]` input."""
    builder = _Builder(draw)
    builder.channels["x"] = 3
    builder.conv()
    for layer in draw(st.lists(st.sampled_from(_LAYERS), min_size=2, max_size=layers)):
        getattr(builder, layer)()
    last = builder.last()
    body = "\n".join([*builder.lines, last])
    return parse(f"x[N,3,{SIZE},{SIZE}] -> y {{\n{body}\n}}", seed=draw(st.integers(0, 3)))
