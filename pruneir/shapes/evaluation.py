"""What an operator makes of small inputs that are known: exporters' arithmetic on shapes, executed.

Each operator is run by itself, by the reference implementation of the onnx package.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import onnx

from pruneir.graph import Operator
from pruneir.onnx_io.model import fill_node
from pruneir.onnx_io.reference import reference
from pruneir.onnx_io.tensors import embed

_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


def evaluated(operator: Operator, values: list[np.ndarray | None], opset: int) -> list[np.ndarray] | None:
    """The outputs of a standard operator at known inputs (None: absent); None if that cannot be said without data."""
    if operator.type in _RANDOM or any(isinstance(a, onnx.AttributeProto) for a in operator.attributes.values()):
        return None
    if any(value is not None and value.dtype.kind in "OSU" for value in values):  # texts are no sizes
        return None
    attributes = tuple(
        (key, _Content.of(value) if isinstance(value, np.ndarray) else value)
        for key, value in sorted(operator.attributes.items())
    )
    inputs = tuple(None if value is None else _Content.of(value) for value in values)
    return _computed(operator.type, attributes, inputs, len(operator.outputs), opset)


def node_of(operator: Operator) -> onnx.NodeProto:
    """An operator as the onnx package reads it."""
    node = onnx.NodeProto()
    fill_node(node, operator, embed)
    return node


class _Content(NamedTuple):
    """A small array as a value that can be compared and hashed."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: np.ndarray) -> _Content:
        return cls(array.dtype, array.shape, array.tobytes())

    def array(self) -> np.ndarray:
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)


@lru_cache(maxsize=8192)
def _computed(
    kind: str, attributes: tuple[tuple[str, Any], ...], inputs: tuple[_Content | None, ...], outputs: int, opset: int
) -> list[np.ndarray] | None:
    """What an operator makes of known inputs, by the reference implementation; exporters repeat such chains a lot."""
    names = tuple("" if content is None else f"x{slot}" for slot, content in enumerate(inputs))
    given = {key: value.array() if isinstance(value, _Content) else value for key, value in attributes}
    operator = Operator(kind, names, tuple(f"y{i}" for i in range(outputs)), given)
    feeds = {name: content.array() for name, content in zip(names, inputs, strict=True) if content is not None}
    # The reference implementations are plain Python over numpy and raise whatever comes up, of any type. What they
    # cannot evaluate is merely not known here: that an operator does not fit its inputs is for inference to say.
    with contextlib.suppress(Exception):
        return [np.asarray(out) for out in reference(operator, opset).run(None, feeds)]
    return None
