"""Attributes of a node: Python values where these say it all, else the AttributeProto itself.

    INT, FLOAT, STRING            int, float, str (bytes where not UTF-8)
    INTS, FLOATS, STRINGS         a tuple of these; an empty tuple is a list of ints, other empty lists stay protos
    TENSOR                        a numpy array
    graphs, sparse tensors, types, references to a function's attribute, lists of tensors     the AttributeProto

What a Python value cannot say (an attribute's doc string; a tensor's name, doc string and metadata) is kept in a note,
an AttributeProto with only these fields, among the operator's extras.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from onnx import AttributeProto

from pruneir.graph.operator import Attribute
from pruneir.onnx_io.protos import rest
from pruneir.onnx_io.tensors import Fetch, Store, array_of, bring_inside, describe, note_of


def decode(proto: AttributeProto, fetch: Fetch) -> Attribute:
    """The attribute's value in Python."""
    if not proto.ref_attr_name:
        match proto.type:
            case AttributeProto.INT:
                return proto.i
            case AttributeProto.FLOAT:
                return proto.f
            case AttributeProto.STRING:
                return _text(proto.s)
            case AttributeProto.INTS:
                return tuple(proto.ints)
            case AttributeProto.FLOATS if proto.floats:
                return tuple(proto.floats)
            case AttributeProto.STRINGS if proto.strings:
                return tuple(map(_text, proto.strings))
            case AttributeProto.TENSOR:
                return array_of(proto.t, fetch)
    kept = rest(proto)
    bring_inside(kept, fetch)
    return kept


def note(proto: AttributeProto, value: Attribute) -> AttributeProto | None:
    """What `value` leaves out of the attribute; None if nothing."""
    left = AttributeProto()
    if isinstance(value, AttributeProto):
        return None
    if proto.doc_string:
        left.doc_string = proto.doc_string
    if proto.type == AttributeProto.TENSOR:
        tensor = note_of(proto.t)
        if tensor is not None:
            tensor.ClearField("data_location")
            left.t.MergeFrom(tensor)
        if proto.t.name:
            left.t.name = proto.t.name
    if not left.ByteSize():
        return None
    left.name = proto.name
    return left


def encode(proto: AttributeProto, name: str, value: Attribute, store: Store, left: AttributeProto | None) -> None:
    """Write an attribute's value, and what a note says about it, into an empty AttributeProto."""
    if isinstance(value, AttributeProto):
        proto.CopyFrom(value)
    elif isinstance(value, np.ndarray):
        proto.type = AttributeProto.TENSOR
        describe(proto.t, value)
        store(proto.t, value)
    elif isinstance(value, (str, bytes)):
        proto.type = AttributeProto.STRING
        proto.s = _bytes(value)
    elif isinstance(value, Integral):
        proto.type = AttributeProto.INT
        proto.i = int(value)
    elif isinstance(value, Real):
        proto.type = AttributeProto.FLOAT
        proto.f = float(value)
    else:
        _encode_list(proto, name, value)
    proto.name = name
    if left is not None:
        proto.MergeFrom(left if proto.type == AttributeProto.TENSOR else rest(left, "t"))


def _encode_list(proto: AttributeProto, name: str, value: Sequence[Attribute]) -> None:
    if all(isinstance(x, Integral) for x in value):
        proto.type = AttributeProto.INTS
        proto.ints.extend(map(int, value))
    elif all(isinstance(x, Real) for x in value):
        proto.type = AttributeProto.FLOATS
        proto.floats.extend(map(float, value))
    elif all(isinstance(x, (str, bytes)) for x in value):
        proto.type = AttributeProto.STRINGS
        proto.strings.extend(map(_bytes, value))
    else:
        raise TypeError(f"attribute {name!r} has no ONNX form: {value!r}")


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
