"""How raw samples become what a network was trained on: images resized, then x ← (x · scale − mean) / std."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np

from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Scaling:
    """What is done to samples; where nothing is given, numbers are left as they are.

    scale      factor of the raw numbers
    mean, std  subtracted, then divided by: one number for all channels, or one each
    resize     `stretch`: an image fills the input's size; `crop`: it keeps its proportions, what juts out is cut off
    order      of an image's colours along the channel axis
    """

    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: Literal["stretch", "crop"] = "stretch"
    order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        for flag, values in (("--scale", (self.scale or 0.0,)), ("--mean", self.mean), ("--std", self.std)):
            if not all(map(isfinite, values)):
                raise PruneirError(f"{flag}: {', '.join(f'{value:g}' for value in values)} is not finite")
        if self.scale == 0:
            raise PruneirError("--scale: 0 makes the same of every number; give the factor of the training")
        if any(value == 0 for value in self.std):
            raise PruneirError("--std: a standard deviation of 0 cannot be divided by")

    @property
    def changes_numbers(self) -> bool:
        """Whether any number becomes another."""
        return self.scale is not None or bool(self.mean) or bool(self.std)

    def apply(self, array: Array, name: str = "x") -> Array:
        """The array scaled; channels are axis 1, or the last where only that one has as many."""
        if self.scale is not None:
            array = array * self.scale
        if self.mean:
            array = array - self._spread(self.mean, array, name, "--mean")
        if self.std:
            array = array / self._spread(self.std, array, name, "--std")
        return array

    def _spread(self, values: tuple[float, ...], array: Array, name: str, flag: str) -> Any:
        """The values, shaped to broadcast along the channels."""
        count = len(values)
        if count == 1:
            return np.float32(values[0])
        axis = next((a for a in (1, array.ndim - 1) if 0 < a < array.ndim and array.shape[a] == count), None)
        if axis is None:
            given = ",".join(["samples", *map(str, array.shape[1:])])
            raise PruneirError(f"{flag}: {count} values, but '{name}' is [{given}]: give one, or one per channel")
        return np.array(values, np.float32).reshape([count if a == axis else 1 for a in range(array.ndim)])
