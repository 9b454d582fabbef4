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

import re
from typing import Any

import numpy as np
import onnx
from onnx import helper

from pruneir.graph.graph import Graph, TensorType
from pruneir.graph.operator import Operator

OPSET = 17
"""The version of the standard operators where no `opset` line names one."""


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
DTYPES: dict[str, int] = {
    _SHORT.get(key) or re.sub("float|u?int|complex", lambda m: m[0][0], key.lower()): code
    for key, code in onnx.TensorProto.DataType.items()
}
_DTYPE_NAMES = {code: name for name, code in DTYPES.items()}
INTEGER = re.compile(r"[iu]\d+|bool")
FLOAT = re.compile(r"b?f\d+\w*")


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
    integer, floating = INTEGER.fullmatch(dtype), FLOAT.fullmatch(dtype)
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
BARE = r"[^\W\d][\w.]*"


def _name(name: str) -> str:
    return name if re.fullmatch(BARE, name) and name != "_" else _quote(name, SINGLE)


def _quote(body: str, mark: str) -> str:
    return mark + body.replace("\\", "\\\\").replace(mark, f"\\{mark}").replace("\n", "\\n") + mark
