"""Where a training runs, and torch as it wants it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pruneir.errors import PruneirError


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is cuda where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        told = str(error).splitlines()[0].partition(". ")[0]
        raise PruneirError(f"train: device '{name}' cannot be used: {told}; give cpu, or auto") from None
    return device


@contextmanager
def settings(threads: int) -> Iterator[None]:
    """Deterministic, with so many threads (0: as many as before); afterwards all is as it was."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(), torch.enable_grad():
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            if threads:
                torch.set_num_threads(threads)
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.set_num_threads(before)
