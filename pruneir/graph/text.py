"""The text form of a graph: short enough to read, exact enough for tests to match.

    opset 13
    x[N,3,8,8], z[N,4]:f16 -> y, k:i64 {
      a = Conv(x, w1[16,3,3,3], pads=[1,1,1,1])
      b, _ = Split(a, axis=1, num_outputs=2) @"/stem/Split"
      r = Reshape(b, {0,-1})
      c = Clip(r, 0.0, 6.0)      # comment
      ...
    }

Grammar; `;` or a line break ends a statement, and line breaks mean nothing within brackets or outside the block:

    graph     = {"opset" [domain] int [";"]} [values] "->" [values] "{" {statement} "}"
    values    = value {"," value}               value   = name [shape] [":" (dtype | "?")]
    shape     = "[" [dim {"," dim}] "]"         dim     = int | name | "?"
    statement = [targets "="] call | name tensor
    targets   = target {"," target}             target  = name | "_"
    call      = [domain "::"] type "(" [arg {"," arg}] ")" ["@" string]
    arg       = "_" | name [tensor] | tensor | number [":" dtype] | name "=" item
    tensor    = (shape ["{" [numbers] "}"] | "{" [numbers] "}") [":" dtype]
    item      = number | string | "[" [item {"," item}] "]" | "tensor" tensor | "{" [numbers] "}" [":" dtype]

- A name is letters, digits, `_` and `.`, not starting with a digit or a dot; any other name is quoted: `'/layer1/Add'`.
- dtype is f32 (where none is given), f16, bf16, f64, i8 … i64, u8 … u64, bool, str, f8e4m3fn and so on. A value without
  a shape may have any rank; `[]` is a scalar; `:?` on an input or output says that it has no declared type. An output
  that is an input too has the input's type unless it states one.
- An initializer is declared where it is first read, as `w[16,3,3,3]`, or by a statement of its own; `w` alone is the
  same tensor again. Of a name that is also an input, such a declaration is the default. A tensor without a name is
  called after the operator's first output and the slot: `r.1`.
- A literal `{0,-1}` is 1-D, int64 if it holds integers alone, else f32; a bare number is the same as a scalar. With
  a shape before it, it is a tensor of that shape: `axis[]{1}`.
- A tensor without literal is random, a function of its name and the seed. Floats: normal with deviation 1/√fan_in for
  rank 2 and more, else uniform in [0.5, 1.5], which suits every BatchNormalization parameter. int8: -8 … 7. Other
  integers: 0 or 1.
- An attribute is an int, a float (single precision, as in ONNX), "a string", b"bytes", a list of these, or a tensor.
- An operator is called as its first output; another name stands behind `@`, `@""` for none.
- Domains that operators use are imported in version 1 unless an `opset` line says otherwise.

`text` prints integer tensors of rank 0 and 1 with up to 8 elements and floats of 1 element by value, everything else by
shape. Subgraphs are printed as `<graph>`, which cannot be parsed. `text(parse(text(graph))) == text(graph)`.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
import onnx
from onnx import helper

from pruneir.graph.graph import Graph, TensorType
from pruneir.graph.operator import Operator

OPSET = 17
"""The version of the standard operators where no `opset` line names one."""


def parse(source: str, *, opset: int = OPSET, seed: int = 0) -> Graph:
    """Build the graph that the text describes; a ValueError names line, column and what was expected there."""
    return _Parser(source, seed).graph(opset)


def text(graph: Graph) -> str:
    """The graph as text, a statement a line."""
    lines = [f"opset {f'{_name(domain)} ' if domain else ''}{version}" for domain, version in _imports(graph)]
    inputs, outputs = (
        ", ".join(_name(name) + _type(graph.type_of(name)) for name in names) for names in (graph.inputs, graph.outputs)
    )
    lines.append(f"{inputs} -> {outputs} {{".strip())
    operators = graph.operators
    read = {name for operator in operators for name in operator.inputs}
    lines += [f"  {_name(name)}{_tensor(array)}" for name, array in graph.initializers.items() if name not in read]
    pending = dict(graph.initializers)
    lines += [f"  {_statement(operator, pending)}" for operator in operators]
    return "\n".join([*lines, "}"])


# Element types

_SHORT = {"FLOAT": "f32", "DOUBLE": "f64", "STRING": "str", "UNDEFINED": "?"}
_DTYPES: dict[str, int] = {
    _SHORT.get(key) or re.sub("float|u?int|complex", lambda m: m[0][0], key.lower()): code
    for key, code in onnx.TensorProto.DataType.items()
}
_DTYPE_NAMES = {code: name for name, code in _DTYPES.items()}
_INTEGER = re.compile(r"[iu]\d+|bool")
_FLOAT = re.compile(r"b?f\d+\w*")


def _random(name: str, shape: Sequence[int], dtype: str, seed: int) -> np.ndarray:
    generator = np.random.default_rng([zlib.crc32(name.encode()), seed])
    target = helper.tensor_dtype_to_np_dtype(_DTYPES[dtype])
    if dtype == "str":
        return np.full(shape, "", object)
    if _INTEGER.fullmatch(dtype):
        low, high = (-8, 8) if dtype == "i8" else (0, 2)
        return np.asarray(generator.integers(low, high, shape)).astype(target)
    if len(shape) < 2:
        return np.asarray(generator.uniform(0.5, 1.5, shape)).astype(target)
    return (generator.standard_normal(shape) / math.sqrt(max(1, math.prod(shape[1:])))).astype(target)


# Printing


def _imports(graph: Graph) -> list[tuple[str, int]]:
    """The operator sets that `parse` would not import by itself."""
    standard = graph.opset()
    used = {operator.domain for operator in graph.operators}
    others = {o.domain: int(o.version) for o in graph.header.opset_import if o.domain not in ("", "ai.onnx")}
    return [("", standard)] * (standard not in (0, OPSET)) + [
        (domain, version) for domain, version in sorted(others.items()) if version != 1 or domain not in used
    ]


def _statement(operator: Operator, pending: dict[str, np.ndarray]) -> str:
    """One operator; it takes the tensors that it is the first to read out of `pending`."""
    first = next(filter(None, operator.outputs), "")
    arguments = []
    for slot, name in enumerate(operator.inputs):
        if name not in pending:
            arguments.append(_name(name) if name else "_")
            continue
        shown = _tensor(pending.pop(name))
        if name != f"{first or operator.type}.{slot}":
            arguments.append(_name(name) + shown)
        else:
            scalar = re.fullmatch(r"\[\]\{(?!inf|nan)(.*)\}(.*)", shown)
            arguments.append(scalar[1] + scalar[2] if scalar else shown)
    arguments += [f"{_name(key)}={_item(value)}" for key, value in operator.attributes.items()]
    targets = ", ".join(_name(name) if name else "_" for name in operator.outputs)
    domain = f"{_name(operator.domain)}::" if operator.domain else ""
    call = f"{domain}{_name(operator.type)}({', '.join(arguments)})"
    behind = "" if operator.name == first else f" @{_quote(operator.name, DOUBLE)}"
    return f"{targets} = {call}{behind}" if targets else call + behind


def _item(value: Any) -> str:
    match value:
        case str():
            return _quote(value, DOUBLE)
        case bytes():
            return "b" + _quote(value.decode("latin-1"), DOUBLE)
        case np.ndarray():
            shown = _tensor(value)
            return shown if shown.startswith("{") else f"tensor{shown}"
        case tuple() | list():
            return f"[{','.join(map(_item, value))}]"
        case float() | np.floating():
            return str(np.float32(value))
        case int() | np.integer():
            return str(int(value))
        case onnx.AttributeProto():
            return f"<{onnx.AttributeProto.AttributeType.Name(value.type).lower()}>"
    return f"<{type(value).__name__}>"


def _tensor(array: np.ndarray) -> str:
    """A tensor behind its name: shape, values, dtype; the least that says it."""
    dtype = _DTYPE_NAMES[helper.np_dtype_to_tensor_dtype(array.dtype)]
    integer, floating = _INTEGER.fullmatch(dtype), _FLOAT.fullmatch(dtype)
    shape, values, default = f"[{','.join(map(str, array.shape))}]", "", "f32"
    if array.ndim < 2 and ((integer and array.size <= 8) or (floating and array.size == 1)):
        values = ",".join(str(int(v)) if integer else str(v) for v in array.reshape(-1))
        values, default = f"{{{values}}}", "i64" if re.fullmatch(r"[-\d,]*", values) else "f32"
        shape = "" if array.ndim else shape
    return shape + values + (f":{dtype}" if dtype != default else "")


def _type(declared: TensorType | None) -> str:
    if declared is None:
        return ":?"
    dtype = _DTYPE_NAMES[declared.elem_type]
    suffix = f":{dtype}" if dtype != "f32" else ""
    if declared.shape is None:
        return suffix
    dims = ("?" if dim is None else str(dim) if isinstance(dim, int) else _name(dim) for dim in declared.shape)
    return f"[{','.join(dims)}]{suffix}"


SINGLE, DOUBLE = "'", '"'
_BARE = r"[^\W\d][\w.]*"


def _name(name: str) -> str:
    return name if re.fullmatch(_BARE, name) and name != "_" else _quote(name, SINGLE)


def _quote(body: str, mark: str) -> str:
    return mark + body.replace("\\", "\\\\").replace(mark, f"\\{mark}").replace("\n", "\\n") + mark


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
    + _BARE
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
            self.built.declare(name, _DTYPES[dtype], shape)

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
        if token.text not in _DTYPES or (token.text == "?" and not unknown):
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
            array = np.array(values, helper.tensor_dtype_to_np_dtype(_DTYPES[dtype]))
            return array if shape is None else array.reshape(shape)
        except (OverflowError, TypeError, ValueError) as error:
            self.refuse(f"not a tensor of {dtype}: {error}", start)
