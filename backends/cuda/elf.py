"""What of an ELF file is needed here: the sections of one for 64 bits, and the names that it leaves undefined."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = b"\x7fELF"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
NOBITS = 8


@dataclass(frozen=True, slots=True)
class Section:
    """A section.

    info  a number whose meaning depends on the kind
    size  bytes, of which there are none in the file where they are all zero
    """

    name: str
    data: bytes
    size: int
    info: int


def sections(image: bytes) -> list[Section]:
    """The sections of an ELF file, in order. ValueError for anything else."""
    if not image.startswith(MAGIC + b"\x02\x01") or len(image) < _HEADER.size:
        raise ValueError("is no 64-bit little-endian ELF file")
    *_, table, _, _, _, _, size, count, names = _HEADER.unpack_from(image)
    if table + size * count > len(image) or size < _SECTION.size:
        raise ValueError("is an ELF file that ends early")
    found = [_SECTION.unpack_from(image, table + size * place) for place in range(count)]
    strings = image[found[names][4] :] if count else b""
    return [
        Section(
            _text(strings, name),
            b"" if kind == NOBITS else image[offset : offset + length],
            length,
            info,
        )
        for name, kind, _, _, offset, length, _, info, _, _ in found
    ]


def undefined(image: bytes) -> list[str]:
    """Names that a shared library needs from others."""
    held = {section.name: section.data for section in sections(image)}
    symbols, strings = held.get(".dynsym", b""), held.get(".dynstr", b"")
    entries = (_SYMBOL.unpack_from(symbols, at) for at in range(0, len(symbols), _SYMBOL.size))
    return [_text(strings, name) for name, _, _, section, _, _ in entries if section == 0 and name]


def _text(strings: bytes, start: int) -> str:
    end = strings.find(b"\0", start)
    return strings[start:end].decode("ascii", "replace")
