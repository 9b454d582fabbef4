"""What every protobuf message can do: be copied in part, be searched for tensors, be checked for readable names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

from pruneir.errors import PruneirError

M = TypeVar("M", bound=Message)


def rest(message: M, *taken: str) -> M:
    """A copy of a message without the fields named."""
    twin: M = type(message)()
    for field, value in message.ListFields():
        if field.name in taken:
            continue
        if hasattr(value, "MergeFrom"):  # a message or a repeated field
            getattr(twin, field.name).MergeFrom(value)
        else:
            setattr(twin, field.name, value)
    return twin


def check_text(message: Message) -> None:
    """PruneirError if a string at any depth is not UTF-8, for which protobuf gives bytes instead of str."""
    if isinstance(message, onnx.TensorProto):  # not all of its fields: reading the data would copy them
        _check_strings(message, "name", (message.name,))
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if isinstance(value, Message) else value:
                check_text(inner)
        elif field.type == field.TYPE_STRING:
            _check_strings(message, field.name, (value,) if isinstance(value, (str, bytes)) else value)


def _check_strings(message: Message, field: str, values: Iterable[object]) -> None:
    for value in values:
        if not isinstance(value, str):
            kind = type(message).__name__.removesuffix("Proto").lower()
            raise PruneirError(f"the {field} {value!r} of a {kind} is not UTF-8 text: damaged; export or copy it again")


def tensors_in(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor at any depth of a message: in attributes, subgraphs, functions, sparse tensors."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if isinstance(value, Message) else value:
                yield from tensors_in(inner)
