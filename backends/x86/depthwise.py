"""Depthwise convolutions: runtime/depthwise.h for one layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pruneir.backends.x86.template import instance
from pruneir.backends.x86.tiling import Geometry
from pruneir.backends.x86.windows import Window, window

_SUMS = {8: 8, 16: 14}
"""Points of a tile by floats in a vector: beside them a row of weights and an input are in registers."""
_WEIGHTS = 7
"""Weights of a row beyond which they stay in memory."""


@dataclass(frozen=True, slots=True)
class Depthwise:
    """The kernel of a convolution whose groups have one input channel each; make it with `depthwise`.

    Pointers: x [N, IH, IW, IC], weights by `depthwise_weights`, y [N, OH, OW, OC], operands of the epilogue.
    """

    window: Window
    scratch: int = 0

    @property
    def items(self) -> int:
        """Independent shares of the work."""
        return self.window.items

    @property
    def macs(self) -> int:
        """Products, those with padding counted too."""
        g = self.window.geometry
        return g.points * g.oc * g.kh * g.kw

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic: a tap of a vector takes one. Measured on Zen 3."""
        return self.window.vectors * self.window.geometry.kh * self.window.geometry.kw

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that it reads."""
        return 4 * self.window.geometry.oc * self.window.geometry.kh * self.window.geometry.kw

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        return instance("depthwise.h", name, finish, self.window.macros())


def depthwise(geometry: Geometry, lanes: int) -> Depthwise:
    """The kernel for vectors of 8 or 16 floats; `oc` is a multiple of `ic`."""
    most = _SUMS.get(lanes, min(_SUMS.values()))
    return Depthwise(window(geometry, lanes, most - (geometry.kw == _WEIGHTS)))


def depthwise_weights(weights: np.ndarray, lanes: int) -> np.ndarray:
    """Float32 [OC, 1, KH, KW] as [KH, KW, OC padded to whole vectors], 0 behind the last channel."""
    taps = weights[:, 0].transpose(1, 2, 0)
    return np.ascontiguousarray(np.pad(taps, [(0, 0), (0, 0), (0, -taps.shape[2] % lanes)]), dtype=np.float32)
