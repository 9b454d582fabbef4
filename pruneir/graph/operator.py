"""One node of a graph: what it computes, what it reads, what it defines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnx

Attribute = Any
"""int, float, str, bytes, a tuple of these, a numpy array, or an `onnx.AttributeProto` for what has no Python form."""


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """An immutable operator call; values are referred to by name, `""` marks an absent optional input or output.

    Being immutable, one operator may stand in several graphs: no rewrite of a graph can reach into another.
    """

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    extras: onnx.NodeProto | None = None
    """Fields of the ONNX node that no pass reads: doc string, overload, metadata, device configuration."""

    @property
    def label(self) -> str:
        """The node's name, or where it has none the first value that it defines."""
        return self.name or next(filter(None, self.outputs), self.type)

    @property
    def captures(self) -> tuple[str, ...]:
        """Names of outer values that the subgraphs of If, Loop and Scan read."""
        return tuple(
            sorted(
                {
                    name
                    for value in self.attributes.values()
                    if isinstance(value, onnx.AttributeProto)
                    for body in (value.g, *value.graphs)
                    for name in free_names(body)
                }
            )
        )

    def attribute(self, name: str, default: Attribute = None) -> Attribute:
        """The attribute's value, or the default."""
        return self.attributes.get(name, default)

    def is_a(self, *types: str) -> bool:
        """Whether this is one of the standard ONNX operators named."""
        return self.type in types and self.domain in ("", "ai.onnx")

    def with_(self, **changes: Any) -> Operator:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def with_attributes(self, **attributes: Attribute) -> Operator:
        """A copy with attributes set, or dropped where the new value is None."""
        merged = {**self.attributes, **attributes}
        return replace(self, attributes={k: v for k, v in merged.items() if v is not None})

    def with_input(self, slot: int, name: str) -> Operator:
        """A copy that reads `name` in input `slot`; absent inputs are put in between where needed."""
        inputs = [*self.inputs, *[""] * (slot + 1 - len(self.inputs))]
        inputs[slot] = name
        while inputs and not inputs[-1]:
            inputs.pop()
        return replace(self, inputs=tuple(inputs))

    def __repr__(self) -> str:
        return f"<{self.type} {self.label!r}>"


def free_names(body: onnx.GraphProto) -> set[str]:
    """Names that a subgraph reads but does not define, in its own subgraphs too."""
    defined = {x.name for x in body.input} | {x.name for x in body.initializer}
    defined |= {x.values.name for x in body.sparse_initializer}
    free: set[str] = set()
    for node in body.node:
        free |= {name for name in node.input if name and name not in defined}
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                free |= free_names(inner) - defined
        defined |= set(node.output)
    return free | {x.name for x in body.output if x.name not in defined}
