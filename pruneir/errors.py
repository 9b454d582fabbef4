"""What goes wrong, as data: user errors that end a run in one line, and refusals that leave a part alone."""

from __future__ import annotations

from dataclasses import dataclass, field


class PruneirError(Exception):
    """Something that the user can mend. The message is one line: what, where, and the remedy. Exit code 2."""


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """Why a part of the network was left as it is.

    code    stable diagnostic code, `PIR0xx`; each has a page in docs/codes
    node    the operator, tensor or group that is the reason
    reason  what about it, in one sentence
    remedy  what would unlock it; empty if nothing does
    channels, holds   how many channels stay for it, and those of which operators, where that is known
    """

    code: str
    node: str
    reason: str
    remedy: str = ""
    channels: int = field(default=0, compare=False)
    holds: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.reason}.", f"{self.remedy}." if self.remedy else "", f"[{self.code}]")))
