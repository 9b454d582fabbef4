"""Arrays of many batches, kept between the steps of a repair: in memory up to a limit, in temporary files beyond."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np


class Store:
    """Arrays by name and batch. A context manager: leaving it deletes the files."""

    def __init__(self, limit: int = 2**30):
        self.limit = limit
        """Bytes that may be held in memory."""
        self._held: dict[str, dict[int, np.ndarray | Path]] = {}
        self._bytes = 0
        self._written = 0
        self._folder: Path | None = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, name: str, batch: int, array: np.ndarray) -> None:
        """Keep an array until its name is dropped."""
        entry: np.ndarray | Path = array
        if self._bytes + array.nbytes > self.limit and array.dtype.kind in "biuf":
            entry = self._write(array)
        else:
            self._bytes += array.nbytes
        self._held.setdefault(name, {})[batch] = entry

    def get(self, name: str, batch: int) -> np.ndarray:
        """An array that was put."""
        entry = self._held[name][batch]
        return np.load(entry) if isinstance(entry, Path) else entry

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def drop(self, name: str) -> None:
        """Let go of all batches of a name, if there are any."""
        for entry in self._held.pop(name, {}).values():
            if isinstance(entry, Path):
                entry.unlink()
            else:
                self._bytes -= entry.nbytes

    def _write(self, array: np.ndarray) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pruneir-"))
        self._written += 1
        path = self._folder / f"{self._written}.npy"
        np.save(path, array)
        return path
