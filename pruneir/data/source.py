"""Where samples come from: a store that is read anywhere, or a stream that is read from its start.

A store shuffles all of its samples; a stream shuffles those that it holds in a pool: it keeps half of the pool back
whenever that is full, so that a sample can get as far behind as chance will have it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneir.data.labels import Boxes, moved

Array = np.ndarray[Any, Any]
Index = Array | slice
Shuffle = np.random.Generator | None

POOL_SAMPLES = 4096
POOL_BYTES = 128 << 20
"""The samples that a stream shuffles among: as many, or as large."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Some samples, fitted to the graph's inputs, but with the numbers and types that they have in their source.

    arrays  one per graph input, samples along axis 0
    labels  one per sample; or boxes `[M, 6]`, column 0 of which is the sample's position among these
    boxes   whether labels are boxes
    """

    arrays: Mapping[str, Array]
    labels: Array | None = None
    boxes: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def take(self, index: Index) -> Samples:
        """Some of them: views for a slice, else copies. Boxes go with their samples, and are copies."""
        labels = self.labels
        if labels is not None:
            labels = Boxes(labels).of(np.arange(len(self))[index]) if self.boxes else labels[index]
        return Samples({name: array[index] for name, array in self.arrays.items()}, labels, self.boxes)

    def filled(self, size: int) -> Samples:
        """These, and the last one again until there are `size`; boxes stay those of the former."""
        found = self.take(np.minimum(np.arange(size), len(self) - 1))
        return Samples(found.arrays, self.labels if self.boxes else found.labels, self.boxes)

    def is_like(self, other: Samples) -> bool:
        """Whether both can lie in one array."""
        return _form(self) == _form(other)


class Source(ABC):
    """Samples under a name that messages call them by.

    count     how many there are; None if that is not known yet
    warnings  what one should know
    code      SHA-256 of the program that makes them, where that was named; else empty
    """

    name: str
    count: int | None
    code: str = ""
    warnings: tuple[str, ...] = ()

    @abstractmethod
    def read(self, size: int, limit: int | None = None, shuffle: Shuffle = None) -> Iterator[Samples]:
        """The samples, or `limit` of them, `size` at a time; in order, or as chance has it."""

    @abstractmethod
    def counted(self) -> int:
        """How many there are, by reading them all if that is what it takes."""


class Store(Source):
    """Samples that can be read in any order."""

    count: int

    @abstractmethod
    def rows(self, indices: Array) -> Samples:
        """The samples of these indices, int64 `[n]`, in that order."""

    def read(self, size: int, limit: int | None = None, shuffle: Shuffle = None) -> Iterator[Samples]:
        """As promised; a shuffled `limit` is chosen among all samples."""
        order = shuffle.permutation(self.count) if shuffle is not None else None
        total = self.count if limit is None else min(limit, self.count)
        for start in range(0, total, size):
            stop = min(start + size, total)
            yield self.rows(np.arange(start, stop) if order is None else order[start:stop])

    def counted(self) -> int:
        """As promised."""
        return self.count


class Stream(Source):
    """Samples that come one after the other, in chunks."""

    count: int | None = None

    @abstractmethod
    def chunks(self) -> Iterator[Samples]:
        """All samples from the start; what was given is not looked at again once the next is asked for."""

    def read(self, size: int, limit: int | None = None, shuffle: Shuffle = None) -> Iterator[Samples]:
        """As promised; a shuffled `limit` is chosen among the first pool of samples and those behind it."""
        chunks = self._all()
        if shuffle is not None:
            chunks = _shuffled(chunks, shuffle)
        return _regrouped(_limited(chunks, limit), size)

    def counted(self) -> int:
        """As promised."""
        return sum(map(len, self._all())) if self.count is None else self.count

    def _all(self) -> Iterator[Samples]:
        count = 0
        for chunk in self.chunks():
            count += len(chunk)
            yield chunk
        self.count = count


class Some(Source):
    """A few samples of a source, chosen by a seed: the same ones, in the same order, whenever they are read."""

    def __init__(self, source: Source, limit: int, seed: int):
        self.name, self.warnings, self.code = source.name, source.warnings, source.code
        self._source, self._limit, self._seed = source, limit, seed

    @property
    def count(self) -> int | None:  # type: ignore[override]
        """As promised."""
        return None if self._source.count is None else min(self._source.count, self._limit)

    def read(self, size: int, limit: int | None = None, shuffle: Shuffle = None) -> Iterator[Samples]:
        """As promised."""
        chunks = self._source.read(size, self._limit, np.random.default_rng(self._seed))
        if shuffle is not None:
            chunks = _shuffled(chunks, shuffle)
        return _regrouped(_limited(chunks, limit), size)

    def counted(self) -> int:
        """As promised."""
        return min(self._source.counted(), self._limit)


def _limited(chunks: Iterator[Samples], limit: int | None) -> Iterator[Samples]:
    left = limit
    for chunk in chunks if left != 0 else ():
        yield chunk if left is None else chunk.take(slice(left))
        if left is not None:
            left -= len(chunk)
            if left <= 0:
                return


def _regrouped(chunks: Iterator[Samples], size: int) -> Iterator[Samples]:
    """The same samples, `size` at a time; fewer at the end, and where samples change their shape."""
    held: list[Samples] = []
    count = 0
    for chunk in chunks:
        if held and not held[0].is_like(chunk):
            yield _joined(held)
            held, count = [], 0
        held.append(chunk)
        count += len(chunk)
        if count >= size:
            together, whole = _joined(held), count // size * size
            for start in range(0, whole, size):
                yield together.take(slice(start, start + size))
            held, count = [together.take(slice(whole, None))], count - whole
        held[-1] = _copied(held[-1])
    if count:
        yield _joined(held)


def _shuffled(chunks: Iterator[Samples], random: np.random.Generator) -> Iterator[Samples]:
    held: list[Samples] = []
    count = nbytes = 0
    for chunk in chunks:
        if held and not held[0].is_like(chunk):
            yield _mixed(held, random, count)[0]
            held, count, nbytes = [], 0, 0
        held.append(_copied(chunk))
        count, nbytes = count + len(chunk), nbytes + chunk.nbytes
        if count >= POOL_SAMPLES or nbytes >= POOL_BYTES:
            first, rest = _mixed(held, random, (count + 1) // 2)
            held, count, nbytes = [rest], len(rest), rest.nbytes
            yield first
    if count:
        yield _mixed(held, random, count)[0]


def _form(samples: Samples) -> dict[str, tuple[object, object]]:
    labels = {} if samples.labels is None else {"\0labels": samples.labels}
    return {name: (array.dtype, array.shape[1:]) for name, array in {**samples.arrays, **labels}.items()}


def _joined(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    labels = [part.labels for part in parts if part.labels is not None]
    if parts[0].boxes:
        starts = np.cumsum([0, *map(len, parts[:-1])])
        labels = [moved(each, start) for each, start in zip(labels, starts, strict=True)]
    return Samples(arrays, np.concatenate(labels) if labels else None, parts[0].boxes)


def _mixed(parts: list[Samples], random: np.random.Generator, first: int) -> tuple[Samples, Samples]:
    """So many of the samples, and the others, each in random order. The parts are used up."""
    together = _joined(parts)
    parts.clear()
    order = random.permutation(len(together))
    return together.take(order[:first]), together.take(order[first:])


def _copied(samples: Samples) -> Samples:
    """What stays when its maker writes the next samples in the same place."""
    labels = None if samples.labels is None else samples.labels.copy()
    return Samples({name: array.copy() for name, array in samples.arrays.items()}, labels, samples.boxes)
