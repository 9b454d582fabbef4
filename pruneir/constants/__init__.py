"""What a removed channel leaves behind, and its absorption into the consumers."""

from pruneir.constants.absorb import Absorbed, Carrier, Held, absorb, add_to_outputs, carrier, held_constants
from pruneir.constants.moments import Moments, estimate

__all__ = [
    "Absorbed",
    "Carrier",
    "Held",
    "Moments",
    "absorb",
    "add_to_outputs",
    "carrier",
    "estimate",
    "held_constants",
]
