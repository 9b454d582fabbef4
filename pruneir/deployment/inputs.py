"""What an artifact is run on: a user's data or random numbers, a run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_opsetid, make_tensor_value_info, np_dtype_to_tensor_dtype

from pruneir.artifact import Manifest, Port
from pruneir.data import Batch, Data, Given, Scaling, archive, load_data
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io import load
from pruneir.verify.feeds import random_feeds

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is fed.

    data     as `load_data` takes them; None: random ones
    scaling  what makes of the data what the network was trained on
    count    how many runs; None: all data
    seed     of the random ones
    """

    data: Given | None = None
    scaling: Scaling | None = None
    count: int | None = 4
    seed: int = 0

    @property
    def source(self) -> str:
        """What messages call them."""
        if self.data is None:
            return f"random inputs, seed {self.seed}"
        return os.fspath(self.data) if isinstance(self.data, (str, os.PathLike)) else "data"

    def runs(self, graph: Graph) -> int | None:
        """How many runs there are; None if that is not known before."""
        if self.data is None or not has_batch(graph):
            return 1 if self.data is not None else self.count or 1
        data = self._data(graph)
        known = None if data.count is None else -(-data.count // (data.batch or 1))
        return min((each for each in (known, self.count) if each is not None), default=None)

    def warnings(self, graph: Graph) -> tuple[str, ...]:
        """What one should know of the data."""
        return self._data(graph).warnings if self.data is not None and has_batch(graph) else ()

    def batches(self, graph: Graph) -> Iterator[Batch]:
        """One entry a run: a single sample, or as many as the graph prescribes."""
        if self.data is None:
            for index in range(self.count or 1):
                yield Batch(random_feeds(graph, batch=1, seed=self.seed + index), None, 1)
        elif has_batch(graph):
            data = self._data(graph)
            yield from data.batches(1, None if self.count is None else self.count * (data.batch or 1))
        else:
            yield Batch(self._whole(), None, 1)

    def of(self, graph: Graph) -> list[dict[str, Array]]:
        """Arrays by input, one entry a run."""
        return [batch.feeds for batch in self.batches(graph)]

    def _data(self, graph: Graph) -> Data:
        assert self.data is not None
        return load_data(self.data, graph, scaling=self.scaling)

    def _whole(self) -> dict[str, Array]:
        """One array per input, as it is."""
        found = archive.read(Path(self.data)) if isinstance(self.data, (str, os.PathLike)) else self.data
        if not isinstance(found, Mapping):
            raise PruneirError(f"{self.source}: the inputs have no common batch axis; give an .npz, one array each")
        return {name: np.asarray(array) for name, array in found.items()}


def has_batch(graph: Graph) -> bool:
    """Whether axis 0 of every input can be that of samples."""
    shapes = [kind.shape for name in graph.data_inputs if (kind := graph.type_of(name)) is not None]
    sizes = {shape[0] if shape else "" for shape in shapes if shape is not None}
    return "" not in sizes and len({size for size in sizes if isinstance(size, int)}) <= 1


def interface(manifest: Manifest) -> Graph:
    """A graph of an artifact's inputs alone: what data are fitted to where the network is not at hand."""
    graph = make_graph([], "interface", [_value_info(port) for port in manifest.inputs], [])
    return load(make_model(graph, ir_version=8, opset_imports=[make_opsetid("", 17)]))


def _value_info(port: Port) -> onnx.ValueInfoProto:
    return make_tensor_value_info(port.name, np_dtype_to_tensor_dtype(np.dtype(port.dtype)), port.shape)
