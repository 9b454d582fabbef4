"""How weights are stored, of layers with zeros in them or in inputs: what each format takes that was compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

CostUnit = Literal["instructions", "cycles"]


@dataclass(frozen=True, slots=True)
class Format:
    """Weights in panels of `width` outputs, an index for `block` positions (`pruneir.sparsity.formats`).

    width, block  both 0: dense, with the zeros; `block` alone: columns, of each input in groups of `width` outputs
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
    """The weights of a layer, or of several that read the same.

    layer    its name, as in the network; of several all of them, with commas between
    weights  how many there are
    nonzero  how many are not zero
    unit     of costs
    formats  that were compared, dense first; of formats alike, such as SIMD groups of several widths, the cheapest;
             columns only where they are taken
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


def together(found: Sequence[Storage], *, shared: bool) -> Storage:
    """What several kernels take together, in the formats that all compared.

    found   at least one; all got the same format
    shared  they read the same weights, stored once: only costs are added; else each has weights of its own
    """
    first, known = found[0], [{str(each): each for each in one.formats} for one in found]
    stored = known[:1] if shared else known
    common = [name for name in known[0] if all(name in formats for formats in known)]
    formats = tuple(
        replace(known[0][name], nbytes=sum(of[name].nbytes for of in stored), cost=sum(of[name].cost for of in known))
        for name in common
    )
    counted = found[:1] if shared else found
    return replace(
        first,
        layer=", ".join(dict.fromkeys(one.layer for one in found)),
        weights=sum(one.weights for one in counted),
        nonzero=sum(one.nonzero for one in counted),
        formats=formats,
        taken=common.index(str(first.format)),
    )


def named(width: int, block: int = 1) -> str:
    """What a format without zeros is called: `CSR`, `CSR in 8s`, `BSR 8×2`, `columns in 8s`."""
    if block > 1:
        return f"BSR {width}×{block}"
    kind = "CSR" if block else "columns"
    return f"{kind} in {width}s" if width > 1 else kind
