"""Reading machine code out of a library: fat binaries, the images in them, and what a kernel takes of the machine.

A fat binary is a header (magic, version, bytes of header, bytes of content) and images, each with its own header: kind
(1 PTX, 2 a cubin, which is an ELF file), bytes of header, bytes of content, flags, architecture. Kernels of a cubin are
its sections `.text.NAME`; how many registers a thread takes is in the upper byte of such a section's `info`, static
shared memory is the size of `.nv.shared.NAME`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pruneir.backends.cuda import elf
from pruneir.errors import PruneirError

MAGIC = struct.pack("<I", 0xBA55ED50)
_FAT = struct.Struct("<IHHQ")
_IMAGE = struct.Struct("<HHIQIIHHI")
_PTX, _CUBIN = 1, 2
_SOURCE = re.compile(rb'__global__|extern "C"|#include\s*<|__launch_bounds__')


@dataclass(frozen=True, slots=True)
class Image:
    """Code for one architecture.

    arch  such as 80
    ptx   whether it is PTX, which the driver translates, and not machine code
    """

    arch: int
    ptx: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in a cubin.

    text       bytes of machine code
    registers  of a thread
    shared     bytes of static shared memory of a block
    """

    name: str
    text: int
    registers: int
    shared: int


def images(content: bytes) -> list[Image]:
    """The images of all fat binaries in a file."""
    found = []
    at = content.find(MAGIC)
    while at >= 0:
        _, version, header, size = _FAT.unpack_from(content, at)
        if version == 1 and header == _FAT.size and at + header + size <= len(content):
            found += list(_images(content[at + header : at + header + size]))
        at = content.find(MAGIC, at + 1)
    return found


def _images(content: bytes) -> Iterator[Image]:
    at = 0
    while at + _IMAGE.size <= len(content):
        kind, _, header, size, *_, arch = _IMAGE.unpack_from(content, at)
        if kind not in (_PTX, _CUBIN) or at + header + size > len(content):
            return
        yield Image(arch, kind == _PTX, content[at + header : at + header + size])
        at += header + size


def kernels(cubin: bytes) -> list[Kernel]:
    """The kernels of a cubin. ValueError if it is none."""
    found = elf.sections(cubin)
    shared = {each.name: each.size for each in found}
    return [
        Kernel(name, each.size, each.info >> 24, shared.get(f".nv.shared.{name}", 0))
        for each in found
        if (name := each.name.removeprefix(".text.")) != each.name
    ]


def require_machine_code(content: bytes, archs: tuple[int, ...]) -> list[Image]:
    """The images of a library. PruneirError where it holds source, or no machine code for one of the architectures."""
    source = _SOURCE.search(content)
    if source is not None:
        raise PruneirError(f"CUDA: the library holds source ({source[0].decode()}) beside machine code; report it")
    found = images(content)
    for arch in archs:
        if not any(image.arch == arch and not image.ptx and _has_kernels(image.data) for image in found):
            raise PruneirError(f"CUDA: the library holds no machine code for sm_{arch}; is nvcc as old as that is new?")
    return found


def _has_kernels(cubin: bytes) -> bool:
    try:
        return bool(kernels(cubin))
    except ValueError:
        return False
