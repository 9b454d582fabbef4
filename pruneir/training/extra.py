"""Whether what training needs is installed."""

from __future__ import annotations

from importlib.util import find_spec

from pruneir.errors import PruneirError

_NEEDED = ("torch", "safetensors")


def require_torch() -> None:
    """PruneirError, with the line that installs it, where the extra `train` is missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise PruneirError(f"training needs {' and '.join(missing)}: pip install 'pruneir[train]'")
