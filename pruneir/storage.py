"""How the weights of a layer with zeros are stored: what each format takes that was compared, and which was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

CostUnit = Literal["instructions", "cycles"]


@dataclass(frozen=True, slots=True)
class Format:
    """Weights in panels of `width` outputs, an index for `block` positions (`pruneir.sparsity.formats`).

    width, block  both 0: dense, with the zeros
    nbytes        bytes of weights and indices, as the kernel reads them
    cost          of one run of the layer, estimated, in the unit of its storage
    """

    width: int
    block: int
    nbytes: int
    cost: int

    def __str__(self) -> str:
        return named(self.width, self.block) if self.width else "dense"


@dataclass(frozen=True, slots=True)
class Storage:
    """A layer's weights.

    layer    its name, as in the network
    weights  how many there are
    nonzero  how many are not zero
    unit     of costs
    formats  that were compared, dense first; of formats alike, such as SIMD groups of several widths, the cheapest
    taken    place of the one that the layer got
    """

    layer: str
    weights: int
    nonzero: int
    unit: CostUnit
    formats: tuple[Format, ...]
    taken: int

    @property
    def format(self) -> Format:
        """The one that the layer got."""
        return self.formats[self.taken]

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "layer": self.layer,
            "weights": self.weights,
            "nonzero": self.nonzero,
            "format": str(self.format),
            "unit": self.unit,
            "formats": [
                {"format": str(each), "width": each.width, "block": each.block, "bytes": each.nbytes, "cost": each.cost}
                for each in self.formats
            ],
        }

    @classmethod
    def from_document(cls, found: Mapping[str, Any]) -> Storage:
        """What `document` wrote. KeyError, TypeError or ValueError for anything else."""
        formats = tuple(
            Format(int(each["width"]), int(each["block"]), int(each["bytes"]), int(each["cost"]))
            for each in found["formats"]
        )
        unit: CostUnit = get_args(CostUnit)[get_args(CostUnit).index(found["unit"])]
        taken = [str(each) for each in formats].index(found["format"])
        return cls(str(found["layer"]), int(found["weights"]), int(found["nonzero"]), unit, formats, taken)


def named(width: int, block: int = 1) -> str:
    """What a format of panels is called: `CSR`, `CSR in 8s`, `BSR 8×2`."""
    if block > 1:
        return f"BSR {width}×{block}"
    return f"CSR in {width}s" if width > 1 else "CSR"
