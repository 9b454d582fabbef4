"""How much flash and RAM a network may take, and what helps where it takes more."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from pruneir.artifact import Flash, Footprint, Ram
from pruneir.errors import PruneirError
from pruneir.numbers import kib
from pruneir.targets import Target

_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_REMEDIES = {
    "rodata": "most of it are weights: cut channels (`pruneir optimize --pass 'filter{ratio=0.5}'`)",
    "text": "most of it is code: fewer different shapes of layers make fewer kernels",
    "arena": "most of it are values between layers: cut channels of the first, largest ones, or give a smaller "
    "--input-shape",
    "io": "most of it are inputs and outputs: give a smaller --input-shape",
}


@dataclass(frozen=True, slots=True)
class Miss:
    """A budget that does not suffice.

    memory  flash or ram
    needed  bytes; None where the backend does not say
    """

    memory: str
    allowed: int
    needed: int | None
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.figures}; {self.remedy}" if self.remedy else self.figures

    @property
    def figures(self) -> str:
        """What it takes, and what there is."""
        if self.needed is None:
            return f"{self.memory}: the backend does not say how much it takes, of {kib(self.allowed)} that there are"
        over = kib(self.needed - self.allowed)
        return f"{self.memory}: {kib(self.needed)}, {over} over the budget of {kib(self.allowed)}"


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that there are; None: as many as it takes."""

    flash: int | None = None
    ram: int | None = None

    def misses(self, sizes: Footprint) -> tuple[Miss, ...]:
        """The budgets that these sizes exceed."""
        wanted: list[tuple[str, int | None, Flash | Ram | None]] = [
            ("flash", self.flash, sizes.flash),
            ("ram", self.ram, sizes.ram),
        ]
        return tuple(
            Miss(name, allowed, None if memory is None else memory.total, _remedy(memory))
            for name, allowed, memory in wanted
            if allowed is not None and (memory is None or memory.total > allowed)
        )

    def or_of(self, target: Target) -> Budget:
        """What is not given, as the target has it."""
        return Budget(
            target.flash if self.flash is None else self.flash,
            target.ram if self.ram is None else self.ram,
        )


def bytes_of(flag: str, given: int | str | None) -> int | None:
    """Bytes from `256K`, `1M` or `262144`; K is 1024, as boards are sold."""
    if given is None or isinstance(given, int):
        return given
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", given.strip(), re.IGNORECASE)
    if not found:
        raise PruneirError(f"{flag}: '{given}' is no size, such as 256K, 1M or 262144 bytes")
    return int(float(found[1]) * _FACTORS[found[2].upper()])


def _remedy(memory: Flash | Ram | None) -> str:
    """What helps against the largest part."""
    if memory is None:
        return ""
    parts: dict[str, Any] = asdict(memory)
    return _REMEDIES.get(max(parts, key=lambda name: parts[name] or 0), "")
