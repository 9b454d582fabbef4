"""One operator call as its torch function sees it, and the register of these functions.

A function is registered by operator type and takes the call, then the operator's inputs (None where one is absent). It
returns the output, or a tuple of outputs. Floats of every width are computed in the network's type, integers in their
own (unsigned ones wider than 8 bits as int64); shapes are int64 tensors in main memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from pruneir.graph import Operator

Function = Callable[..., Any]
"""(call, *inputs) → an output, or a tuple of outputs."""

_NARROW = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, *range(17, 21))
_DTYPES: dict[int, torch.dtype] = {
    TensorProto.DOUBLE: torch.float64,
    TensorProto.BOOL: torch.bool,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.UINT8: torch.uint8,
}


@dataclass(slots=True)
class Mode:
    """What holds for all calls of a run: training or not, and the type and place of what is computed."""

    training: bool = False
    frozen: bool = False
    """Whether running statistics normalise in training too, and stay."""
    renewal: float = 0.0
    """The share of a batch's statistics in the running ones, where the operator's is smaller."""
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def dtype_of(self, elem_type: int) -> torch.dtype:
        """The torch type in which an ONNX element type is computed."""
        if elem_type in _NARROW:
            return self.dtype
        return _DTYPES.get(elem_type, torch.int64)

    def place(self, tensor: Tensor) -> Tensor:
        """A constant where and in what the run computes: floats in its type, shapes in main memory."""
        if not tensor.is_floating_point():
            return tensor
        return tensor.to(self.device, torch.promote_types(tensor.dtype, self.dtype))


@dataclass(frozen=True, slots=True)
class Call:
    """An operator of a graph: its attributes, the version that defines it, the run that it is part of."""

    operator: Operator
    opset: int
    mode: Mode
    bodies: Mapping[str, Any] = field(default_factory=dict)
    """The subgraphs of If, Loop and Scan: a function (outer values by name, *inputs) → list of outputs each."""

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's value, or the default."""
        return self.operator.attributes.get(name, default)

    @property
    def outputs(self) -> int:
        """How many outputs the operator has."""
        return len(self.operator.outputs)

    def wants(self, output: int) -> bool:
        """Whether an optional output is named."""
        return output < len(self.operator.outputs) and bool(self.operator.outputs[output])


Check = Callable[[Call], str | None]
"""Why an operator with these attributes cannot be run, if so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered function, what refuses calls that it cannot run, and whether its inputs may lie apart."""

    function: Function
    refuse: Check
    spread: bool


_REGISTER: dict[tuple[str, str], Entry] = {}


def op(
    *types: str, domain: str = "", refuse: Check = lambda call: None, spread: bool = False
) -> Callable[[Function], Function]:
    """Register the torch function of some operator types.

    spread  it reads shapes, indices or conditions wherever they are; for others all inputs are brought to one place
    """

    def register(function: Function) -> Function:
        for kind in types:
            _REGISTER[domain, kind] = Entry(function, refuse, spread)
        return function

    return register


def entry_of(operator: Operator) -> Entry | None:
    """What is registered for an operator's type."""
    return _REGISTER.get(("" if operator.domain == "ai.onnx" else operator.domain, operator.type))


def together(inputs: list[Any], device: torch.device) -> list[Any]:
    """Tensors that an operator combines, all on the device if one of them is."""
    if any(isinstance(tensor, Tensor) and tensor.device.type == device.type for tensor in inputs):
        return [tensor.to(device) if isinstance(tensor, Tensor) else tensor for tensor in inputs]
    return inputs


def ints(values: Tensor | tuple[int, ...]) -> list[int]:
    """Python integers: of a shape tensor, or of an attribute."""
    return values.reshape(-1).tolist() if isinstance(values, Tensor) else [int(value) for value in values]


def axes_of(call: Call, axes: Tensor | None, rank: int) -> list[int]:
    """The axes that a call names by input or attribute, counted from the front; every axis if it names none."""
    given = ints(axes) if axes is not None else [int(axis) for axis in call.attribute("axes", ())]
    return [axis % rank for axis in given] if given else list(range(rank))
