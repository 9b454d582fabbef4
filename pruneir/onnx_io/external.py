"""Tensor data beside the model: files that an ONNX file points to, and arrays that a model in memory stands for."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

import numpy as np
from onnx import TensorProto

from pruneir.errors import PruneirError
from pruneir.onnx_io.tensors import Array, damaged, embed, from_raw, is_packed, raw

SMALL = 1024
"""Bytes up to which data always stay inside: shapes, axes and scales, which tools want to see."""


class DataFolder:
    """Reads external data from the files beside a model, lazily: one read-only memory map for each file."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._maps: dict[str, Array] = {}

    def fetch(self, tensor: TensorProto) -> Array:
        """The tensor's values as a view of its file. PruneirError if it is missing, too short, or not in the folder."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        data = self._map(entries.get("location", ""), tensor.name)
        try:
            start = int(entries.get("offset") or 0)
            stop = start + int(entries["length"]) if entries.get("length") else data.size
        except ValueError:
            raise damaged(tensor, "offset or length of its external data is not a number") from None
        if not 0 <= start <= stop <= data.size:
            where = self.folder / entries["location"]
            raise damaged(tensor, f"bytes {start} to {stop} are wanted, but {where} has {data.size}")
        return from_raw(tensor, data[start:stop])

    def _map(self, location: str, name: str) -> Array:
        if location not in self._maps:
            path = self.folder / self._safe(location, name)
            if not path.is_file():
                raise PruneirError(f"the data file {path} of tensor {name!r} is missing; put it beside the model")
            empty = path.stat().st_size == 0
            self._maps[location] = np.zeros(0, np.uint8) if empty else np.asarray(np.memmap(path, np.uint8, "r"))
        return self._maps[location]

    def _safe(self, location: str, name: str) -> str:
        """The location, if it and what it links to are in the model's folder: a model must not read elsewhere."""
        absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute()
        real = Path(os.path.realpath(self.folder / location))
        if not location or absolute or not real.is_relative_to(os.path.realpath(self.folder)):
            raise PruneirError(f"tensor {name!r} has its data in {location!r}, outside of the model's folder; refused")
        return location


class DataFile:
    """Lays out the one file beside a saved model; offsets are those of pages, so that a runtime can map them."""

    def __init__(self, location: str):
        self.location = location
        self.arrays: list[tuple[int, Array]] = []
        self._end = 0

    def store(self, tensor: TensorProto, array: Array) -> None:
        """Give the array its place in the file; strings stay inside, as ONNX wants it."""
        if tensor.data_type == TensorProto.STRING:
            embed(tensor, array)
            return
        data = raw(array) if is_packed(array) else array
        page = 65536 if data.nbytes >= 1 << 20 else 4096
        offset = -(-self._end // page) * page
        self._end = offset + data.nbytes
        self.arrays.append((offset, data))
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.location), ("offset", offset), ("length", data.nbytes)):
            tensor.external_data.add(key=key, value=str(value))

    def store_large(self, tensor: TensorProto, array: Array) -> None:
        """`store`, but small tensors stay inside."""
        (self.store if array.nbytes > SMALL else embed)(tensor, array)

    def write(self, file: IO[bytes]) -> None:
        """Write the arrays one by one."""
        for offset, array in self.arrays:
            file.seek(offset)
            file.write(raw(array).data)
        file.truncate(self._end)


class Shelf:
    """Keeps arrays in memory beside a model that only names them, so that a tool need not copy what it never reads."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []

    def store(self, tensor: TensorProto, array: Array) -> None:
        """Put a large array on the shelf; strings and packed types stay inside."""
        if array.nbytes <= SMALL or tensor.data_type == TensorProto.STRING or is_packed(array):
            embed(tensor, array)
            return
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=str(len(self.arrays)))
        self.arrays.append(array)

    def fetch(self, tensor: TensorProto) -> Array:
        """The array that a tensor stands for."""
        return self.arrays[int(tensor.external_data[0].value)]
