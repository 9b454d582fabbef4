"""Keeping Python's cycle collector out of phases that only build."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def building() -> Iterator[None]:
    """No cycle collection meanwhile: many small objects are made, all of which stay.

    The collector would walk all of them again and again, which makes time grow faster than the network.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
