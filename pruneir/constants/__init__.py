"""What a removed channel leaves behind, and its absorption into the consumers."""

from pruneir.constants.absorb import Absorbed, Held, absorb, held_constants
from pruneir.constants.moments import Moments, estimate

__all__ = ["Absorbed", "Held", "Moments", "absorb", "estimate", "held_constants"]
