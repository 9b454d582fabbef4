"""Arrays, in memory or mapped from a file, as a source of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pruneir.data.fitting import Input, fitted, key_of, require_counts, require_finite
from pruneir.data.labels import Boxes, are_listed, require_classes
from pruneir.data.source import Samples, Store
from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]


class Arrays(Store):
    """One array per graph input, samples along axis 0, and perhaps one with labels.

    arrays   by name: the inputs', or `x` for the only one; others may lie beside
    labels   the one that holds labels; default `y`, where that is no input
    classes  that the network tells apart, if it is a classifier
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        inputs: Mapping[str, Input],
        labels: str | None,
        classes: int | None,
        name: str,
    ):
        self.name, self.inputs = name, inputs
        self.keys = {each: key_of(arrays, each, inputs, name) for each in inputs}
        self.arrays = {each: _array(arrays[key], key, name) for each, key in self.keys.items()}
        for each, array in self.arrays.items():
            fitted(array, inputs[each], name)
        self.count = require_counts({each: len(array) for each, array in self.arrays.items()}, name)
        if not self.count:
            raise PruneirError(f"{name}: has no sample; give at least one")
        self.labels = self._labels(arrays, labels, classes)

    def rows(self, indices: Array) -> Samples:
        """As promised."""
        found = {}
        for name, array in self.arrays.items():
            raw = np.asarray(array[indices])
            require_finite(raw, indices, self.keys[name], self.name)
            found[name] = fitted(raw, self.inputs[name], self.name)
        if isinstance(self.labels, Boxes):
            return Samples(found, self.labels.of(indices), boxes=True)
        return Samples(found, None if self.labels is None else self.labels[indices])

    def _labels(self, arrays: Mapping[str, Any], wanted: str | None, classes: int | None) -> Array | Boxes | None:
        key = wanted or "y"
        if wanted is None and (key in self.inputs or key not in arrays):
            return None
        if key not in arrays:
            raise PruneirError(f"--labels: {self.name} has no array '{key}'; it has {', '.join(arrays)}")
        found = _array(arrays[key], key, self.name)
        if are_listed(found, self.count, classes):
            return Boxes(found)
        if found.ndim == 0 or len(found) != self.count:
            count = len(found) if found.ndim else 1
            raise PruneirError(f"{self.name}: '{key}' has {count} labels for {self.count} samples")
        require_classes(found, 0, classes, key, self.name)
        return found


def _array(given: Any, key: str, source: str) -> Array:
    try:
        return np.asanyarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise PruneirError(f"{source}: '{key}' cannot be made an array ({str(error).splitlines()[0]})") from error
