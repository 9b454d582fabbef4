"""What a removed channel leaves behind, and its absorption into the consumers."""

from pruneir.constants.absorb import Absorbed, Carrier, Held, absorb, add_to_outputs, carrier, held_constants
from pruneir.constants.exact import exact_constants, pads_with_zeros
from pruneir.constants.linear import bias_of
from pruneir.constants.moments import Moments, estimate

__all__ = [
    "Absorbed",
    "Carrier",
    "Held",
    "Moments",
    "absorb",
    "add_to_outputs",
    "bias_of",
    "carrier",
    "estimate",
    "exact_constants",
    "held_constants",
    "pads_with_zeros",
]
