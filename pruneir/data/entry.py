"""A Python function that yields batches as a source of samples.

Called without arguments, and again for every pass over the data, it returns an iterable of batches: an array, a dict
of arrays by input, or either with labels behind, `(x, y)`. Whatever `numpy.asarray` takes is an array.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pruneir import files
from pruneir.data.fitting import Input, fitted, key_of, require_counts, require_finite
from pruneir.data.labels import require_classes
from pruneir.data.source import Samples, Stream
from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]
Function = Callable[[], Iterable[Any]]

_ENTRY = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")


def is_entry(text: str) -> bool:
    """Whether a text has the form `module:function`."""
    return bool(_ENTRY.fullmatch(text))


def function_of(entry: str) -> Function:
    """What `module:function` names; modules in the current directory are found, as `python -m` finds them."""
    module, _, name = entry.partition(":")
    here = _found_here()
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _failed(entry, "cannot be imported", error) from error
        remedy = f"give {module.removesuffix('.py')}:{name}" if module.endswith(".py") else "check the name"
        raise PruneirError(f"{entry}: no module '{module}' in {here}, and none is installed; {remedy}") from None
    except Exception as error:
        raise _failed(entry, "cannot be imported", error) from error
    if not callable(found):
        raise PruneirError(f"{entry}: module '{module}' has no function '{name}'")
    return found  # type: ignore[no-any-return]


def code_of(entry: str) -> str:
    """SHA-256 of the file of the module that `module:function` names; empty where there is no such file."""
    _found_here()
    try:
        found = importlib.util.find_spec(entry.partition(":")[0])
    except Exception:  # a package around it that cannot be imported is told by whoever wants the function
        return ""
    return files.digest_of(Path(found.origin)) if found is not None and found.has_location and found.origin else ""


def _found_here() -> str:
    """The current directory, in which modules are found from now on."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    return here


class Entry(Stream):
    """The batches of a function, one chunk each.

    labels   of the arrays in a dict that holds labels; default `y`, where that is no input
    classes  that the network tells apart, if it is a classifier
    code     of the function's file, where it was named as `module:function`
    """

    def __init__(
        self,
        function: Function,
        inputs: Mapping[str, Input],
        labels: str | None,
        classes: int | None,
        name: str,
        code: str = "",
    ):
        self.function, self.inputs, self.name, self.code = function, inputs, name, code
        self.wanted, self.classes = labels, classes
        self._last: object = None
        """What the last call returned, where that can be gone through only once."""

    def chunks(self) -> Iterator[Samples]:
        """As promised. Batches without a sample are passed over."""
        batches = self._batches()
        first, number, labelled = 0, 0, None
        while True:
            number += 1
            try:
                batch = next(batches)
            except StopIteration:
                break
            except Exception as error:
                raise _failed(self.name, f"fails at batch {number}", error) from error
            samples = self._samples(batch, first, f"{self.name}, batch {number}")
            if not len(samples):
                continue
            if labelled not in (None, samples.labels is not None):
                raise PruneirError(f"{self.name}: some batches have labels, number {number} is the first to differ")
            labelled = samples.labels is not None
            first += len(samples)
            yield samples
        if not first:
            raise PruneirError(f"{self.name}: gives no sample; at least one is needed, whenever it is called")

    def _batches(self) -> Iterator[Any]:
        try:
            given: Any = self.function()
        except Exception as error:
            raise _failed(self.name, "fails", error) from error
        if isinstance(given, (Mapping, tuple)) or hasattr(given, "shape") or not hasattr(given, "__iter__"):
            raise PruneirError(
                f"{self.name}: returns a {type(given).__name__}, not an iterable of batches; yield one after the other"
            )
        batches: Iterator[Any] = iter(given)
        if batches is given and given is self._last:
            raise PruneirError(
                f"{self.name}: returns the same {type(given).__name__} again, which is used up; "
                "make a new one at every call, as a generator function does"
            )
        self._last = given if batches is given else None
        return batches

    def _samples(self, batch: Any, first: int, where: str) -> Samples:
        """A batch as it was yielded, fitted to the inputs.

        first   samples before it
        where   the batch, in words
        """
        given, labels = _parted(batch, where)
        if not isinstance(given, Mapping):
            if len(self.inputs) > 1:
                raise PruneirError(f"{where}: the network has inputs {', '.join(self.inputs)}; yield a dict by input")
            given = {next(iter(self.inputs)): given}
        key = self.wanted or "y"
        if labels is None and key not in self.inputs:
            labels = given.get(key)
        if labels is None and self.wanted is not None:
            raise PruneirError(f"--labels: {where} has no array '{key}'; it has {', '.join(map(str, given))}")
        arrays = {}
        for name, wanted in self.inputs.items():
            found = key_of(given, name, self.inputs, where)
            raw = _array(given[found], found, where)
            arrays[name] = fitted(raw, wanted, where)
            require_finite(raw, np.arange(first, first + len(raw)), found, where)
        count = require_counts({name: len(array) for name, array in arrays.items()}, where)
        return Samples(arrays, None if labels is None else self._labels(labels, count, first, where))

    def _labels(self, given: Any, count: int, first: int, where: str) -> Array:
        labels = _array(given, "labels", where)
        if labels.ndim == 0 or len(labels) != count:
            raise PruneirError(f"{where}: has {len(labels) if labels.ndim else 1} labels for {count} samples")
        require_classes(labels, first, self.classes, "labels", where)
        return labels


def _parted(batch: Any, where: str) -> tuple[Any, Any]:
    """A batch's inputs, and its labels, if they stand behind."""
    if not isinstance(batch, (tuple, list)) or not _holds_arrays(batch):
        return batch, None
    if len(batch) > 2:
        kind = f"{type(batch).__name__} of {len(batch)}"
        raise PruneirError(f"{where}: is a {kind}; yield x, (x, labels), or a dict by input")
    return batch[0], batch[1] if len(batch) == 2 else None


def _holds_arrays(batch: Any) -> bool:
    """Whether a tuple or list is no nested list of numbers, but has arrays in it."""
    return isinstance(batch, tuple) or any(isinstance(each, Mapping) or hasattr(each, "shape") for each in batch)


def _array(given: Any, name: str, where: str) -> Array:
    try:
        return np.asarray(given)
    except Exception as error:  # whatever the maker of the array thinks of
        raise _failed(where, f"'{name}' cannot be made an array", error) from error


def _failed(where: str, what: str, error: Exception) -> PruneirError:
    told = str(error).strip().splitlines()
    return PruneirError(f"{where}: {what} ({type(error).__name__}{f': {told[0]}' if told else ''})")
