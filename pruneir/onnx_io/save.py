"""From a Graph to an ONNX file: whole or not at all, and without a second copy of the data in memory.

Protobuf allows the fields of a message in any order, so the graph is written as the serialized parts that it has
(header, types, nodes) followed by its initializers, whose data go from numpy to the file directly.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from pruneir.errors import PruneirError
from pruneir.graph.graph import Graph
from pruneir.onnx_io.external import SMALL, DataFile
from pruneir.onnx_io.model import LARGEST, fill_node, fill_tensor, shell
from pruneir.onnx_io.tensors import Array, Store, embed, is_outside, is_packed, raw

Piece = bytes | Array
"""Bytes of a file, or an array whose raw data these are."""


def save(graph: Graph, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write the graph to `path`; data that came from a file beside the model go to one, `path`.data.

    So do all large tensors of a model over 2 GB. PruneirError if something is in the way (unless `force`) or the folder
    cannot be written; whatever goes wrong, nothing is left behind and what was there stays.
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(target.name + ".data")
    data = DataFile(beside.name)
    outside = {name for name, note in graph.notes.items() if is_outside(note)}
    pieces = _model(graph, data, outside, embed)
    if _size(pieces) > LARGEST:
        data = DataFile(beside.name)
        outside = {name for name, array in graph.initializers.items() if array.nbytes > SMALL}
        pieces = _model(graph, data, outside, data.store_large)
    if _size(pieces) > LARGEST:
        raise PruneirError(f"{path}: more than 2 GB besides its tensors, which ONNX cannot hold")
    with _replacing(target, *([beside] if data.arrays else []), force=force) as files:
        for piece in pieces:
            files[0].write(piece if isinstance(piece, bytes) else raw(piece).data)
        if data.arrays:
            data.write(files[1])


def _model(graph: Graph, data: DataFile, outside: set[str], constants: Store) -> list[Piece]:
    """The pieces of the file, in order; initializers named in `outside` get a place in the data file."""
    body: list[Piece] = [shell(graph).SerializeToString()]
    for operator in graph.operators:
        node = NodeProto()
        fill_node(node, operator, constants)
        body += _field(GraphProto.NODE_FIELD_NUMBER, [node.SerializeToString()])
    for name, array in graph.initializers.items():
        tensor = TensorProto()
        fill_tensor(tensor, name, array, graph.notes.get(name))
        body += _field(GraphProto.INITIALIZER_FIELD_NUMBER, _tensor(tensor, array, data if name in outside else None))
    return [graph.header.SerializeToString(), *_field(ModelProto.GRAPH_FIELD_NUMBER, body)]


def _tensor(tensor: TensorProto, array: Array, data: DataFile | None) -> list[Piece]:
    if data is None and tensor.data_type != TensorProto.STRING:
        values = raw(array) if is_packed(array) else array
        return [tensor.SerializeToString(), *_field(TensorProto.RAW_DATA_FIELD_NUMBER, [values])]
    (data.store if data is not None else embed)(tensor, array)
    return [tensor.SerializeToString()]


def _field(number: int, pieces: Sequence[Piece]) -> list[Piece]:
    """A length-delimited protobuf field: its tag (wire type 2), its length, its content."""
    return [_varint(number << 3 | 2) + _varint(_size(pieces)), *pieces]


def _varint(number: int) -> bytes:
    """Little-endian groups of seven bits, each but the last with the top bit set."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _size(pieces: Sequence[Piece]) -> int:
    return sum(len(piece) if isinstance(piece, bytes) else piece.nbytes for piece in pieces)


@contextmanager
def _replacing(*targets: Path, force: bool) -> Iterator[list[IO[bytes]]]:
    """New files that take their targets' places once all are written; the model, which is first, last of all."""
    for target in targets:
        if target.is_dir():
            raise PruneirError(f"{target} is a folder; give the name of a file in it")
        if target.exists() and not force:
            raise PruneirError(f"{target} exists; pass --force to overwrite it, or give another name")
    drafts = [target.with_name(f".{target.name}.{secrets.token_hex(4)}") for target in targets]
    files: list[IO[bytes]] = []
    try:
        try:
            for draft in drafts:
                files.append(draft.open("xb"))
            yield files
        finally:
            for file in files:
                file.close()
        for draft, target in reversed(list(zip(drafts, targets, strict=True))):
            draft.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PruneirError(f"{targets[0]} cannot be written ({reason}); check its folder and your rights") from None
    finally:
        for draft in drafts[: len(files)]:
            draft.unlink(missing_ok=True)
