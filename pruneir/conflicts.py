"""Options that leave each other without effect: to give both is an error, and no silent choice of one.

Two tables of a dataclass of options say which:

    exclusive = (("ratio", "macs"),)                    # macs is instead of ratio
    idle = {"momentum": ("optimizer", ("sgd",)),        # momentum does something where optimizer is sgd,
            "l1_at": ("l1_weights", ())}                # and l1_at where there is a l1_weights
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from pruneir.errors import PruneirError

Exclusive = tuple[tuple[str, str], ...]
Idle = Mapping[str, tuple[str, tuple[Any, ...]]]


def require_effect(what: Any, name: str, given: Collection[str] = ()) -> None:
    """PruneirError for an option that another one leaves without effect.

    name   what messages call the options' owner
    given  the options that were written down, be it with their defaults; what differs from its default was given
    """
    chosen = {each.name for each in fields(what) if getattr(what, each.name) != each.default}
    for first, other in getattr(what, "exclusive", ()):
        if first in chosen | set(given) and other in chosen:
            raise PruneirError(f"{name}: {other} is instead of {first}; give only one of them")
    for option, (other, values) in getattr(what, "idle", {}).items():
        now = getattr(what, other)
        if option not in chosen | set(given) or (now in values if values else now):
            continue
        wanted = f"{other}={' or '.join(map(str, values))}" if values else other
        raise PruneirError(f"{name}: {option} has no effect without {wanted}; give that too, or leave {option} out")
