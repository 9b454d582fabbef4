"""Zero weights: which tensors have some, masks, passes that set them, and what they save."""

from pruneir.sparsity.sizes import Packed, Size, packed, sizes, total, unpacked
from pruneir.sparsity.sparse import Sparse, zeroed
from pruneir.sparsity.weights import Masks, Weight, density, masked, weights, with_values
from pruneir.sparsity.work import macs_kept

__all__ = [
    "Masks",
    "Packed",
    "Size",
    "Sparse",
    "Weight",
    "density",
    "macs_kept",
    "masked",
    "packed",
    "sizes",
    "total",
    "unpacked",
    "weights",
    "with_values",
    "zeroed",
]
