"""The arrays of .npz and .npy files, without reading them: mapped into memory where they lie.

An .npz is a zip of .npy files. A member that is stored as it is can be mapped at its offset; one that is compressed is
unpacked when it is asked for, to a temporary file if it is large.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy

from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]

IN_MEMORY = 256 << 20
"""Bytes of a compressed array up to which it is unpacked in memory."""
_LOCAL_HEADER = 30
_ENCRYPTED = 1
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_DAMAGED = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    EOFError,
    RuntimeError,
    BadZipFile,
    struct.error,
    zlib.error,
)


def read(path: str | os.PathLike[str]) -> Mapping[str, Array] | Array:
    """The arrays of an .npz file by name, each opened when it is asked for; or that of an .npy file."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _opened(file, path)
    except FileNotFoundError:
        raise PruneirError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise PruneirError(f"{path}: cannot be read ({error.strerror or error})") from None


class Archive(Mapping[str, Array]):
    """The arrays of an .npz file."""

    def __init__(self, path: Path):
        self.path = path
        with ZipFile(path) as archive:
            self._members = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if _is_array(i)}
        if not self._members:
            raise BadZipFile

    def __getitem__(self, name: str) -> Array:
        """PruneirError for what is no plain array."""
        member = self._members[name]
        try:
            with ZipFile(self.path) as archive, self.path.open("rb") as file:
                if member.compress_type == ZIP_STORED and not member.flag_bits & _ENCRYPTED:
                    return _mapped(file, _offset(file, member))
                with archive.open(member) as unpacked:
                    return self._unpacked(unpacked, name)
        except OSError as error:
            raise PruneirError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        except _DAMAGED:
            _fail(self.path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def _unpacked(self, member: IO[bytes], name: str) -> Array:
        size = self._members[name].file_size
        if size <= IN_MEMORY:
            return np.asarray(npy.read_array(member, allow_pickle=False))
        try:
            with tempfile.TemporaryFile() as file:  # its bytes are there as long as the array is
                shutil.copyfileobj(member, file, 1 << 20)
                return _mapped(file, 0)
        except OSError as error:
            raise PruneirError(
                f"{self.path}: '{name}' cannot be unpacked to {tempfile.gettempdir()} ({error.strerror or error}, "
                f"{size / 1e9:,.1f} GB): set TMPDIR to another folder, or store it with numpy.savez"
            ) from None


def _opened(file: IO[bytes], path: Path) -> Mapping[str, Array] | Array:
    try:
        start = file.read(len(npy.MAGIC_PREFIX))
        return _mapped(file, 0) if start == npy.MAGIC_PREFIX else Archive(path)
    except _DAMAGED:
        _fail(path)


def _mapped(file: IO[bytes], start: int) -> Array:
    """The array whose .npy file starts there; read where it is too small to be mapped."""
    file.seek(start)
    shape, fortran, dtype = _HEADERS[npy.read_magic(file)](file)
    if dtype.hasobject:
        raise ValueError
    if 0 in shape or not shape:
        file.seek(start)
        return np.asarray(npy.read_array(file, allow_pickle=False))
    return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _offset(file: IO[bytes], member: ZipInfo) -> int:
    """Where a member's bytes start: behind its local header, a name and an extra field of 16-bit lengths."""
    file.seek(member.header_offset)
    name, extra = struct.unpack_from("<26x2H", file.read(_LOCAL_HEADER))
    return member.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def _is_array(member: ZipInfo) -> bool:
    return member.filename.endswith(".npy")


def _fail(path: Path) -> NoReturn:
    raise PruneirError(
        f"{path}: not an .npz file of plain arrays, nor an .npy file; write one with numpy.savez or numpy.save"
    ) from None
