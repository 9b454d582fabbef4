"""TensorProto to numpy and back, bit by bit, for every element type of ONNX.

Types that numpy lacks (bfloat16, float8, the 4-bit and narrower ones) are those of ml_dtypes. A narrow element takes a
whole byte in an array and is packed in a file. Strings are an object array of str, or of bytes where not UTF-8.
Where the data of a tensor go is a `Store`'s decision, where they come from when they are not inside a `Fetch`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.helper import np_dtype_to_tensor_dtype, tensor_dtype_to_np_dtype

from pruneir.errors import PruneirError
from pruneir.onnx_io.protos import rest, tensors_in

Array = np.ndarray[Any, Any]
Store = Callable[[TensorProto, Array], None]
"""Puts an array's data into, or beside, a tensor whose name, type and shape are written."""
Fetch = Callable[[TensorProto], Array]
"""Gets the array of a tensor whose data are outside of the model."""

_PACKED = {
    getattr(TensorProto, name)
    for name in ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2", "FLOAT6E2M3", "FLOAT6E3M2")
    if hasattr(TensorProto, name)
}
_LISTS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")
_DATA = ("dims", "data_type", "segment", "raw_data", "external_data", *_LISTS)


def is_packed(array: Array) -> bool:
    """Whether a file stores several elements in a byte."""
    return element_type(array) in _PACKED


def element_type(array: Array) -> int:
    """The ONNX element type of an array."""
    return int(np_dtype_to_tensor_dtype(array.dtype))


def is_outside(tensor: TensorProto) -> bool:
    """Whether the tensor's data are not in the model."""
    return tensor.data_location == TensorProto.EXTERNAL


def array_of(tensor: TensorProto, fetch: Fetch) -> Array:
    """The tensor's values in its own shape. PruneirError where shape and data disagree."""
    if is_outside(tensor):
        return fetch(tensor)
    try:
        if tensor.data_type == TensorProto.STRING:
            return _strings(tensor)
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(tensor, str(error)) from None


def from_raw(tensor: TensorProto, data: Array) -> Array:
    """The values of a tensor whose raw data are these bytes: a view of them where element type and alignment allow."""
    if tensor.data_type in _PACKED:
        inside = TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=data.tobytes())
        return array_of(inside, no_data_outside)
    try:
        array = data.view(tensor_dtype_to_np_dtype(tensor.data_type)).reshape(tuple(tensor.dims))
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(tensor, str(error)) from None
    return np.require(array, requirements="A")


def damaged(tensor: TensorProto, what: str) -> PruneirError:
    """The error for a tensor that cannot be read."""
    reason = what.splitlines()[0] if what else "unknown element type"
    shape = "x".join(map(str, tensor.dims)) or "scalar"
    return PruneirError(f"tensor {tensor.name!r} ({shape}) cannot be read: {reason}; export the model again")


def no_data_outside(tensor: TensorProto) -> Array:
    """A `Fetch` for models that come from memory, where nothing can be outside."""
    raise PruneirError(f"tensor {tensor.name!r} has its data in a file; load the model by its path instead")


def note_of(tensor: TensorProto) -> TensorProto | None:
    """What an array cannot say of a tensor: doc string, metadata, that its data are in a file; None if nothing."""
    note = rest(tensor, "name", *_DATA)
    return note if note.ByteSize() else None


def describe(tensor: TensorProto, array: Array) -> None:
    """Write element type and shape."""
    tensor.data_type = element_type(array)
    tensor.dims.extend(array.shape)


def raw(array: Array) -> Array:
    """The array as the flat bytes of ONNX raw data, a view where possible. Not for strings."""
    if is_packed(array):
        return np.frombuffer(numpy_helper.from_array(array).raw_data, np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def embed(tensor: TensorProto, array: Array) -> None:
    """A `Store` that puts the data inside."""
    if tensor.data_type == TensorProto.STRING:
        tensor.string_data.extend(x if isinstance(x, bytes) else x.encode() for x in array.flat)
    else:
        tensor.raw_data = raw(array).tobytes()


def bring_inside(message: onnx.ModelProto | onnx.GraphProto | onnx.AttributeProto, fetch: Fetch) -> None:
    """Let every tensor at any depth of a message hold its own data."""
    for tensor in tensors_in(message):
        if is_outside(tensor):
            array = fetch(tensor)
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
            embed(tensor, array)


def _strings(tensor: TensorProto) -> Array:
    array = np.empty(len(tensor.string_data), object)
    for index, text in enumerate(tensor.string_data):
        try:
            array[index] = text.decode()
        except UnicodeDecodeError:
            array[index] = text
    return array.reshape(tuple(tensor.dims))
