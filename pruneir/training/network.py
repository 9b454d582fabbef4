"""A graph as a torch module: run, differentiated, trained, and written back under its own names.

`module.train()` and `module.eval()` decide whether BatchNormalization normalises by the batch and Dropout drops,
whatever a node's `training_mode` says. In training, running statistics move by 1 − momentum of the operator (ONNX
states the share that is kept), towards the batch's mean and its unbiased variance, as torch has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pruneir.errors import PruneirError
from pruneir.graph import Graph, Operator
from pruneir.tolerance import is_float
from pruneir.training.ops import Mode
from pruneir.training.parameters import roles
from pruneir.training.program import Program, constants, tensor_of


class Network(nn.Module):  # type: ignore[misc]
    """A graph as a torch module, its parameters keyed by initializer name.

    Tensors in Constant operators go by the name of their value. Parameters of half precision are float32 here and
    written back in their own type. PruneirError if an output needs an operator that cannot be run.
    """

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph = graph
        self._mode = Mode()
        self.freeze_statistics = False
        """Normalise by the running statistics in training too, and leave them as they are."""
        self.renewal = 0.0
        """The share of a batch's statistics in the running ones, where the operator's is smaller."""
        self._program = Program(graph, self._mode)
        held = constants(graph)
        floats = {name: array for name, array in held.items() if is_float(array.dtype)}
        self._fixed = {name: tensor_of(array) for name, array in held.items() if name not in floats}
        found = roles(graph, floats)
        self._keys = {name: f"{index}:{name.replace('.', '/')}" for index, name in enumerate(floats)}
        self._statistics = found.statistics
        for name in found.weights:
            self.register_parameter(self._keys[name], nn.Parameter(tensor_of(floats[name])))
        for name, array in floats.items():
            if self._keys[name] not in self._parameters:
                persistent = name in self._statistics
                self.register_buffer(self._keys[name], tensor_of(array), persistent=persistent)
        self.register_buffer("like", torch.zeros(()), persistent=False)
        self._weights = found.weights
        self._scales = found.scales

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The tensors that are trained."""
        return {name: self._parameters[self._keys[name]] for name in self._weights}

    @property
    def scales(self) -> dict[str, nn.Parameter]:
        """γ of every BatchNormalization, among the weights."""
        return {name: self._parameters[self._keys[name]] for name in self._scales}

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Running means and variances of BatchNormalization; training changes them in place."""
        return {name: self._buffers[self._keys[name]] for name in self._statistics}

    def forward(self, feeds: Mapping[str, Tensor], names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The graph's outputs, or the named values, of tensors for the graph's inputs."""
        mode = self._mode
        mode.training, mode.dtype, mode.device = self.training, self.like.dtype, self.like.device
        mode.frozen, mode.renewal = self.freeze_statistics, self.renewal
        wanted = self.graph.outputs if names is None else names
        given = {name: self._parameters.get(key, self._buffers.get(key)) for name, key in self._keys.items()}
        given |= self._fixed
        given |= {name: self._fed(name, tensor) for name, tensor in feeds.items() if name in self.graph.inputs}
        for name in wanted:
            if name not in self.graph.network:
                raise PruneirError(f"the graph has no value {name!r}; name one of its values")
        return self._program.run(given, wanted)

    def written(self) -> Graph:
        """A copy of the graph with the values as they are now: names, order and element types kept.

        An array that did not change is the same object.
        """
        result = self.graph.copy()
        for name, tensor in (*self.weights.items(), *self.statistics.items()):
            before = self.graph.constant(name)
            assert before is not None
            after = tensor.detach().cpu().numpy().astype(before.dtype).reshape(before.shape)
            if not np.array_equal(before, after):
                _write(result, name, after)
        return result

    def _fed(self, name: str, tensor: Tensor) -> Tensor:
        """An input in the type in which the network computes it."""
        known = self.graph.type_of(name)
        if known is None or not known.elem_type:
            return self._mode.place(tensor)
        return tensor.to(dtype=self._mode.dtype_of(known.elem_type))


def _write(graph: Graph, name: str, array: np.ndarray) -> None:
    operator = graph.producer(name)
    if operator is None:
        graph.set_initializer(name, array)
    else:
        graph.replace(operator, _holding(operator, array))


def _holding(operator: Operator, array: np.ndarray) -> Operator:
    """The Constant operator with other values in the attribute that it has."""
    key = next(key for key in ("value", "value_floats", "value_float") if key in operator.attributes)
    value: Any = array
    if key != "value":
        value = tuple(map(float, array.reshape(-1))) if key == "value_floats" else float(array)
    return operator.with_attributes(**{key: value})
