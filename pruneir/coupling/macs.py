"""Multiply-accumulates of a graph and of any cut of it: products of axis lengths, as the rules stated them."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

import numpy as np

from pruneir.coupling.engine import Traced
from pruneir.coupling.labels import Labels
from pruneir.coupling.rule import Cut
from pruneir.graph import Operator
from pruneir.shapes import Shapes


class MacCounter:
    """Counts the multiply-accumulates that many different cuts of one graph would leave, all axes at once."""

    def __init__(self, traced: Traced, shapes: Shapes):
        self._traced = traced
        self._labels: list[Labels] = []
        self._full: list[int] = []
        """Every axis that may be cut: its labels, and its length at one sample."""
        self._build(shapes)

    @cached_property
    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        """The generators of every position of every axis, `[positions, factors]`, and how many positions each has."""
        rows = [self._traced.generators.leaves(labels.base) for labels in self._labels]
        width = max((r.shape[1] for r in rows), default=1)
        padded = [np.pad(r, ((0, 0), (0, width - r.shape[1]))) for r in rows]
        return np.concatenate([np.zeros((0, width), np.int64), *padded]), np.array([len(r) for r in rows], np.int64)

    def total(self, dead: np.ndarray) -> int:
        """The multiply-accumulates that are left when some classes go; `dead` as for `Coupling.cut`."""
        leaves, heights = self._positions
        if not len(heights):
            return int(self._fixed.sum())
        gone = dead[leaves[:, 0]]
        for column in leaves.T[1:]:
            gone |= dead[column]
        there = heights - np.add.reduceat(gone.astype(np.int64), np.cumsum(heights) - heights)
        return int(self.terms(np.array(self._full, np.int64) * there // heights).sum())

    def by_operator(self, cut: Cut | None = None) -> dict[Operator, int]:
        """The multiply-accumulates of every operator that has some, after a cut."""
        found: dict[Operator, int] = defaultdict(int)
        for term, macs in zip(self._traced.macs, self.terms(self.lengths_after(cut)).tolist(), strict=True):
            found[term.operator] += macs
        return dict(found)

    def lengths_after(self, cut: Cut | None) -> np.ndarray:
        """The length of every axis that may be cut, after a cut."""
        sized = zip(self._full, self._labels, strict=True)
        return np.array([full if cut is None else left(full, labels, cut) for full, labels in sized], np.int64)

    def terms(self, lengths: np.ndarray) -> np.ndarray:
        """The multiply-accumulates of every term, at these axis lengths."""
        return np.asarray(self._fixed * np.append(lengths, 1)[self._axes].prod(axis=1))

    def _build(self, shapes: Shapes) -> None:
        """Per term, a fixed factor and the indices of axes that may be cut."""
        known: dict[tuple[int, int], int] = {}
        fixed, axes = [], []
        for term in self._traced.macs:
            factor, indices = term.factor, []
            for name, axis, labels in term.axes:
                shape = shapes.shape(name) or self._traced.shapes.shape(name)
                assert shape is not None
                length = shape[axis]
                if labels.is_data:
                    factor *= length
                    continue
                key = (id(labels), length)
                if key not in known:
                    known[key] = len(self._labels)
                    self._labels.append(labels)
                    self._full.append(length)
                indices.append(known[key])
            fixed.append(factor)
            axes.append(indices)
        width = max(map(len, axes), default=0)
        self._fixed = np.array(fixed, np.int64)
        self._axes = np.array([row + [-1] * (width - len(row)) for row in axes], np.int64).reshape(len(axes), width)


def left(length: int, labels: Labels, cut: Cut) -> int:
    """How much of an axis stays, whose length may be another than that of its labels, where it holds the batch too."""
    if labels.is_data or not cut.touches(labels):
        return length
    return length * cut.count(labels) // len(labels)
