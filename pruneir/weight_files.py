"""Weights in safetensors files: named tensors without code, which every framework reads (extra `train`)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from pruneir.errors import PruneirError
from pruneir.files import require_writable


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a file by name, bfloat16 as ml_dtypes has it. PruneirError if it cannot be read."""
    library = _safetensors()
    try:
        found: dict[str, np.ndarray] = library.load_file(path)
    except FileNotFoundError:
        raise PruneirError(f"{os.fspath(path)}: no such file; check the path") from None
    except OSError as error:
        raise PruneirError(f"{os.fspath(path)}: cannot be read ({error.strerror or error})") from None
    except _error() as error:
        raise PruneirError(f"{os.fspath(path)}: not a safetensors file ({error}); give one") from None
    return found


def write_safetensors(
    path: str | os.PathLike[str],
    weights: Mapping[str, Any],
    *,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write tensors to a file, whole or not at all.

    weights   numpy arrays or torch tensors by name
    metadata  texts in the file's header; transformers wants `{"format": "pt"}`
    force     overwrite what is there

    PruneirError if the file cannot be written, or exists.
    """
    library, path = _safetensors(), Path(path)
    require_writable(path, force=force)
    arrays = {name: np.asarray(as_array(weight), order="C") for name, weight in weights.items()}
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        library.save_file(arrays, draft, metadata=dict(metadata or {}))
        draft.replace(path)
    except (OSError, _error()) as error:
        raise PruneirError(f"{path} cannot be written ({error}); check the folder and its disk") from None
    finally:
        draft.unlink(missing_ok=True)


def as_array(weight: Any) -> np.ndarray:
    """The values of a numpy array, a torch tensor on any device, or what else numpy can read, in their own type."""
    if not hasattr(weight, "detach"):
        return np.asarray(weight)
    held = weight.detach().cpu()
    name = str(held.dtype).removeprefix("torch.")
    if hasattr(np, name):
        return np.asarray(held.numpy())
    return np.asarray(held.float().numpy()).astype(getattr(ml_dtypes, name))


def _safetensors() -> ModuleType:
    try:
        import safetensors.numpy  # noqa: PLC0415 - an extra
    except ImportError:
        raise PruneirError("safetensors files need the extra `train`: pip install 'pruneir[train]'") from None
    library: ModuleType = safetensors.numpy
    return library


def _error() -> type[Exception]:
    from safetensors import SafetensorError  # noqa: PLC0415 - an extra

    return SafetensorError
