"""The library of an artifact, loaded: its functions by ctypes, and one handle with its threads."""

from __future__ import annotations

import ctypes
import hashlib
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pruneir.artifact import Manifest
from pruneir.errors import PruneirError

Array = np.ndarray[Any, Any]
_POINTERS = ctypes.POINTER(ctypes.c_void_p)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "model_create": (ctypes.c_void_p, [ctypes.c_int]),
    "model_destroy": (None, [ctypes.c_void_p]),
    "model_error": (ctypes.c_char_p, []),
    "model_run": (ctypes.c_int, [ctypes.c_void_p, _POINTERS, _POINTERS, ctypes.c_long]),
    "model_profile": (ctypes.c_int, [ctypes.c_void_p, _POINTERS, _POINTERS, ctypes.POINTER(ctypes.c_double)]),
    "model_peak": (ctypes.c_double, [ctypes.c_void_p]),
}


class Library:
    """A handle of the network in a library.

    PruneirError for a library that is not the one of the artifact, or that this machine cannot run.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int) -> None:
        name = str(manifest.details["library"])
        self.path = folder / name
        if manifest.details["host"]:
            raise PruneirError(
                f"{self.path}: is an archive for {manifest.details['host']}, to be linked and run there; "
                "for this machine compile without --host"
            )
        _require_intact(self.path, str(manifest.details["files"].get(name)))
        try:
            self.functions = _loaded(self.path, str(manifest.details["files"][name]))
            for function, (result, arguments) in _FUNCTIONS.items():
                found = getattr(self.functions, function)
                found.restype, found.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            reason = " ".join(str(error).split()).strip(": ")
            raise PruneirError(f"{self.path}: cannot be loaded ({reason}); compile it again on this machine") from None
        self.handle = ctypes.c_void_p(self.functions.model_create(threads))
        if not self.handle:
            raise PruneirError(f"{self.path}: {self.error()}")
        self.lock = threading.Lock()  # a handle runs one call at a time
        self.close = weakref.finalize(self, self.functions.model_destroy, self.handle)

    def error(self) -> str:
        """Why the last call failed."""
        return str(self.functions.model_error().decode())

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], batch: int) -> None:
        """Compute the outputs for so many samples. All arrays are C-contiguous."""
        with self.lock:
            failed = self.functions.model_run(self.handle, _pointers(inputs), _pointers(outputs), batch)
        if failed:
            raise PruneirError(f"{self.path}: {self.error()}")

    def profile(self, inputs: Sequence[Array], outputs: Sequence[Array], steps: int) -> list[float]:
        """The ms of each step of a run of one sample."""
        ms = (ctypes.c_double * max(steps, 1))()
        with self.lock:
            self.functions.model_profile(self.handle, _pointers(inputs), _pointers(outputs), ms)
        return list(ms)[:steps]

    def peak(self) -> float:
        """GFLOP/s of fused multiply-adds on its threads."""
        with self.lock:
            return float(self.functions.model_peak(self.handle))


def _loaded(path: Path, digest: str) -> ctypes.CDLL:
    """The library, under a name of its own: of two with the same path, the system would give the first again."""
    with TemporaryDirectory(prefix="pruneir-") as folder:
        own = Path(folder) / f"{digest}.so"
        own.symlink_to(path.resolve())
        try:
            return ctypes.CDLL(str(own))
        except OSError as error:
            raise OSError(str(error).replace(str(own), "")) from None


def _require_intact(path: Path, expected: str) -> None:
    if not path.is_file():
        raise PruneirError(f"{path}: is missing; compile the network again")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise PruneirError(
            f"{path}: is not as it was compiled (its SHA-256 differs from manifest.json's); compile it again"
        )


def _pointers(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * max(len(arrays), 1))(*[array.ctypes.data for array in arrays])
