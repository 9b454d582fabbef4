"""How many bytes weights take: as they are, compressed by gzip, and packed with their zeros left out.

Packed is the smallest of these, tensor by tensor:

dense   every value
bits    the values that are not zero, and one bit for each entry: whether it is there
gaps4   these values, and for each a 4-bit distance from the one before; where that is longer than 16, a zero is stored
        in between (Han et al., ICLR 2016, section 2)
gaps8   the same with 8 bits, up to 256
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pruneir.sparsity.weights import Weight

Form = Literal["dense", "bits", "gaps4", "gaps8"]
FORMS: tuple[Form, ...] = ("dense", "bits", "gaps4", "gaps8")


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor without its zeros.

    values  `[stored]`, of the tensor's type
    index   uint8: bits, or distances, two of 4 bits in a byte; empty if dense
    """

    form: Form
    shape: tuple[int, ...]
    values: np.ndarray
    index: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of values and index."""
        return self.values.nbytes + self.index.nbytes


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one tensor, or of several.

    form  of the packed bytes; empty for several
    """

    name: str
    entries: int
    nonzero: int
    raw: int
    gzip: int
    packed: int
    form: Form | Literal[""] = ""

    @property
    def kept(self) -> float:
        """The share of entries that are not zero."""
        return self.nonzero / self.entries if self.entries else 1.0


def sizes(given: Iterable[Weight]) -> list[Size]:
    """The bytes of each weight; `total` adds them up."""
    found = []
    for weight in given:
        array = np.ascontiguousarray(weight.array)
        small = packed(array)
        zipped = len(gzip.compress(array.tobytes(), 6, mtime=0))
        found.append(Size(weight.name, array.size, weight.nonzero, array.nbytes, zipped, small.nbytes, small.form))
    return found


def total(given: Sequence[Size], name: str = "total") -> Size:
    """Several sizes as one."""
    return Size(name, *(sum(getattr(s, f) for s in given) for f in ("entries", "nonzero", "raw", "gzip", "packed")))


def packed(array: np.ndarray, form: Form | None = None) -> Packed:
    """A tensor in the smallest form, or in a given one."""
    forms = FORMS if form is None else (form,)
    return min((_in_form(array, each) for each in forms), key=lambda each: each.nbytes)


def unpacked(given: Packed) -> np.ndarray:
    """The tensor again. A zero's sign is lost."""
    count = int(np.prod(given.shape, dtype=np.int64))
    flat = np.zeros(count, given.values.dtype)
    if given.form == "dense":
        flat[:] = given.values
    elif given.form == "bits":
        flat[np.unpackbits(given.index, count=count).astype(bool)] = given.values
    else:
        steps = given.index.astype(np.int64)
        if given.form == "gaps4":
            steps = np.stack([steps >> 4, steps & 15], axis=1).reshape(-1)[: len(given.values)]
        flat[np.cumsum(steps + 1) - 1] = given.values
    return flat.reshape(given.shape)


def _in_form(array: np.ndarray, form: Form) -> Packed:
    flat, nothing = array.reshape(-1), np.zeros(0, np.uint8)
    if form == "dense":
        return Packed(form, array.shape, flat, nothing)
    there = flat != 0
    if form == "bits":
        return Packed(form, array.shape, flat[there], np.packbits(there))
    places = _with_stops(np.flatnonzero(there), 16 if form == "gaps4" else 256)
    steps = (np.diff(places, prepend=-1) - 1).astype(np.uint8)
    if form == "gaps4":
        pairs = np.append(steps, np.zeros(len(steps) % 2, np.uint8)).reshape(-1, 2)
        steps = np.asarray(pairs[:, 0] << 4 | pairs[:, 1], np.uint8)
    return Packed(form, array.shape, flat[places], steps)


def _with_stops(places: np.ndarray, longest: int) -> np.ndarray:
    """Positions with others put in where two are further apart than `longest`."""
    before = np.concatenate([[-1], places[:-1]]) if len(places) else places
    stops = (places - before - 1) // longest
    rank = np.arange(stops.sum()) - np.repeat(np.cumsum(stops) - stops, stops)
    between = np.repeat(before, stops) + (rank + 1) * longest
    return np.sort(np.concatenate([places, between]))
