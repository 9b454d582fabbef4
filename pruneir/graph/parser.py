"""Reading the text form of graphs; `pruneir.graph.text` has the grammar."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from onnx import helper

from pruneir.graph.graph import Graph
from pruneir.graph.operator import Operator
from pruneir.graph.text import BARE, DTYPES, INTEGER, OPSET


def parse(source: str, *, opset: int = OPSET, seed: int = 0) -> Graph:
    """Build the graph that the text describes; a ValueError names line, column and what was expected there."""
    return _Parser(source, seed).graph(opset)


def _random(name: str, shape: Sequence[int], dtype: str, seed: int) -> np.ndarray:
    generator = np.random.default_rng([zlib.crc32(name.encode()), seed])
    target = helper.tensor_dtype_to_np_dtype(DTYPES[dtype])
    if dtype == "str":
        return np.full(shape, "", object)
    if INTEGER.fullmatch(dtype):
        low, high = (-8, 8) if dtype == "i8" else (0, 2)
        return np.asarray(generator.integers(low, high, shape)).astype(target)
    if len(shape) < 2:
        return np.asarray(generator.uniform(0.5, 1.5, shape)).astype(target)
    return (generator.standard_normal(shape) / math.sqrt(max(1, math.prod(shape[1:])))).astype(target)


# Printing


def _unquote(quoted: str) -> str:
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], quoted[1:-1])


# Parsing


class _Token(NamedTuple):
    kind: str
    """name, quoted, string, bytes, number, opaque, newline, end, or the symbol itself."""
    text: str
    offset: int


_TOKEN = re.compile(
    r"""(?P<space>[^\S\n]+|\#[^\n]*)
    |(?P<newline>\n)
    |(?P<bytes>b"(?:[^"\\\n]|\\.)*")
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<quoted>'(?:[^'\\\n]|\\.)*')
    |(?P<number>[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf|nan)(?![\w.]))
    |(?P<name>"""
    + BARE
    + r""")
    |(?P<opaque><\w+>)
    |(?P<symbol>->|::|[][{}(),;:=@?])""",
    re.VERBOSE,
)

T = TypeVar("T")


class _Parser:
    def __init__(self, source: str, seed: int):
        self.source, self.seed = source, seed
        self.tokens = self._tokens()
        self.at = 0
        self.built = Graph("graph")
        self.reads: dict[str, _Token] = {}
        self.defined: set[str] = set()

    # Tokens

    def _tokens(self) -> list[_Token]:
        tokens: list[_Token] = []
        open_brackets: list[str] = []
        offset = 0
        while offset < len(self.source):
            match = _TOKEN.match(self.source, offset)
            if match is None:
                self.fail("a name, a number or a symbol", _Token("", self.source[offset], offset))
            kind, found = str(match.lastgroup), match[0]
            if kind == "symbol":
                kind = found
                if found in "[{(":
                    open_brackets.append(found)
                elif found in "]})" and open_brackets:
                    open_brackets.pop()
            if kind == "number" and found in ("inf", "nan"):
                kind = "name"
            if kind != "space" and (kind != "newline" or open_brackets == ["{"]):
                tokens.append(_Token(kind, found, offset))
            offset = match.end()
        return [*tokens, _Token("end", "", len(self.source))]

    def fail(self, expected: str, token: _Token | None = None) -> NoReturn:
        token = token or self.peek()
        shown = {"end": "the end", "newline": "the end of the line"}.get(token.kind, token.text)
        self.refuse(f"expected {expected}, found {shown}", token)

    def refuse(self, problem: str, token: _Token) -> NoReturn:
        line = self.source.count("\n", 0, token.offset) + 1
        column = token.offset - self.source.rfind("\n", 0, token.offset)
        raise ValueError(f"line {line}, column {column}: {problem}")

    def peek(self, ahead: int = 0) -> _Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def next(self, *kinds: str, expected: str = "") -> _Token:
        token = self.peek()
        if token.kind not in kinds:
            self.fail(expected or " or ".join(f"`{kind}`" for kind in kinds))
        self.at += 1
        return token

    def skip(self, *kinds: str) -> bool:
        if self.peek().kind in kinds:
            self.at += 1
            return True
        return False

    def several(self, one: Callable[[], T], close: str) -> list[T]:
        """A comma-separated list up to a closing symbol, which is read too."""
        if self.skip(close):
            return []
        found = [one()]
        while self.next(",", close).kind == ",":
            found.append(one())
        return found

    def name(self, expected: str = "a name") -> str:
        if self.peek().text == "_":
            self.fail(expected)
        token = self.next("name", "quoted", expected=expected)
        return token.text if token.kind == "name" else _unquote(token.text)

    # Graph

    def graph(self, opset: int) -> Graph:
        versions = {"": opset} | self.opsets()
        self.several(lambda: self.value(self.built.inputs), "->")
        outputs = self.peek()
        self.several(lambda: self.value(self.built.outputs), "{")
        while not self.skip("}"):
            if not self.skip(";", "newline"):
                self.statement()
                if self.peek().kind != "}":
                    self.next(";", "newline", expected="`;`, a new line or `}`")
        self.next("end", expected="the end")
        for name in self.built.outputs:
            self.reads.setdefault(name, outputs)
        for name, token in self.reads.items():
            if name not in self.defined:
                self.refuse(f"{name!r} is read, but no input, tensor or operator defines it", token)
        for operator in self.built.operators:
            if operator.domain not in ("", "ai.onnx"):
                versions.setdefault(operator.domain, 1)
        self.built.header.opset_import.extend(helper.make_opsetid(*item) for item in versions.items())
        return self.built

    def opsets(self) -> dict[str, int]:
        versions = {}
        while self.peek().text == "opset" and self.peek(1).kind in ("number", "name", "quoted"):
            self.at += 1
            domain = "" if self.peek().kind == "number" else self.name()
            versions["" if domain == "ai.onnx" else domain] = self.integer("a version")
            self.skip(";")
        return versions

    def value(self, names: list[str]) -> None:
        """An input or output, added to `names`."""
        inputs = self.built.inputs
        token, name = self.peek(), self.name("an input or `->`" if names is inputs else "an output or `{`")
        if name in names:
            self.refuse(f"{name!r} is listed twice", token)
        known = name in inputs
        names.append(name)
        if known and self.peek().kind not in ("[", ":"):
            return
        if names is inputs:
            self.defined.add(name)
        shape = tuple(self.several(self.dim, "]")) if self.skip("[") else None
        dtype = self.dtype("f32", unknown=True)
        self.built.network.add_node(name)
        if dtype != "?" or shape is not None:
            self.built.declare(name, DTYPES[dtype], shape)

    def dim(self) -> int | str | None:
        if self.skip("?"):
            return None
        return self.integer("") if self.peek().kind == "number" else self.name("a size, a symbol or `?`")

    def integer(self, expected: str) -> int:
        number = self.number(expected)
        if not isinstance(number, int):
            self.refuse(f"expected an integer, found {self.tokens[self.at - 1].text}", self.tokens[self.at - 1])
        return number

    def number(self, expected: str = "a number") -> int | float:
        if self.peek().text in ("inf", "nan"):
            return float(self.next("name").text)
        found = self.next("number", expected=expected).text
        return int(found) if re.fullmatch(r"[-+]?\d+", found) else float(found)

    def dtype(self, default: str, *, unknown: bool = False) -> str:
        if not self.skip(":"):
            return default
        token = self.peek()
        if token.text not in DTYPES or (token.text == "?" and not unknown):
            self.fail("a dtype (f32, f16, bf16, f64, i8 to i64, u8 to u64, bool, ...)")
        self.at += 1
        return token.text

    # Statements

    def statement(self) -> None:
        first, after = self.peek(), self.peek(1).kind
        if first.kind not in ("name", "quoted"):
            self.fail("a statement or `}`")
        if after in ("(", "::"):
            self.call([])
        elif after in ("[", "{"):
            self.define_tensor(self.name(), first)
        else:
            self.call(self.several(self.target, "="))

    def target(self) -> str:
        if self.peek().text == "_":
            self.at += 1
            return ""
        token, name = self.peek(), self.name("an output")
        self.define(name, token)
        return name

    def define(self, name: str, token: _Token) -> None:
        if name in self.defined:
            self.refuse(f"{name!r} is defined twice", token)
        self.defined.add(name)

    def call(self, outputs: list[str]) -> None:
        kind, domain = self.name("an operator type"), ""
        if self.skip("::"):
            kind, domain = self.name("an operator type"), kind
        first = next(filter(None, outputs), "")
        self.next("(")
        inputs: list[str] = []
        attributes: dict[str, Any] = {}
        self.several(lambda: self.argument(first or kind, inputs, attributes), ")")
        name = first
        if self.skip("@"):
            name = _unquote(self.next("string", expected='a node name in "quotes"').text)
        self.built.add(Operator(kind, tuple(inputs), tuple(outputs), attributes, name, domain))

    def argument(self, base: str, inputs: list[str], attributes: dict[str, Any]) -> None:
        token = self.peek()
        if self.peek(1).kind == "=":
            key = self.name("an attribute")
            if key in attributes:
                self.refuse(f"attribute {key!r} is given twice", token)
            self.at += 1
            attributes[key] = self.item(f"{base}.{key}")
        elif token.text == "_":
            self.at += 1
            inputs.append("")
        elif token.kind in ("name", "quoted"):
            name = self.name()
            if self.peek().kind in ("[", "{"):
                self.define_tensor(name, token)
            self.reads.setdefault(name, token)
            inputs.append(name)
        elif token.kind in ("[", "{", "number"):
            name = f"{base}.{len(inputs)}"
            self.define_tensor(name, token)
            inputs.append(name)
        else:
            self.fail("an input, an attribute or `)`")

    def item(self, name: str) -> Any:
        """The value of an attribute; a random tensor in it takes its values from `name`."""
        token = self.peek()
        if token.text == "tensor" and self.peek(1).kind in ("[", "{"):
            self.at += 1
            return self.tensor(name)
        if token.kind == "{":
            return self.tensor(name)
        if self.skip("["):
            items = self.several(lambda: self.item(name), "]")
            return tuple(map(float, items)) if any(isinstance(item, float) for item in items) else tuple(items)
        if self.skip("string"):
            return _unquote(token.text)
        if self.skip("bytes"):
            return _unquote(token.text[1:]).encode("latin-1")
        if token.kind == "opaque":
            self.refuse(f"{token.text} stands for an attribute that has no text form; build the graph in Python", token)
        number = self.number("an int, a float, a string, a list or a tensor")
        return float(np.float32(number)) if isinstance(number, float) else number

    # Tensors

    def define_tensor(self, name: str, token: _Token) -> None:
        if name in self.built.initializers or name not in self.built.inputs:
            self.define(name, token)
        self.built.set_initializer(name, self.tensor(name))

    def tensor(self, name: str) -> np.ndarray:
        """Shape, literal and dtype of a tensor, its name being read already."""
        start = self.peek()
        shape = tuple(self.several(lambda: self.integer("a size"), "]")) if self.skip("[") else None
        if start.kind == "number":
            values, shape = [self.number()], ()
        elif self.skip("{"):
            values = self.several(self.number, "}")
        else:
            return _random(name, shape or (), self.dtype("f32"), self.seed)
        dtype = self.dtype("f32" if any(isinstance(value, float) for value in values) else "i64")
        try:
            array = np.array(values, helper.tensor_dtype_to_np_dtype(DTYPES[dtype]))
            return array if shape is None else array.reshape(shape)
        except (OverflowError, TypeError, ValueError) as error:
            self.refuse(f"not a tensor of {dtype}: {error}", start)
