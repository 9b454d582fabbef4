"""Where results go: names beside the input, checked before any work, and written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pruneir.errors import PruneirError


def beside(source: str | Path) -> Path:
    """`model.pruned.onnx` beside `model.onnx`."""
    path = Path(source)
    return path.with_name(path.name.removesuffix(".onnx") + ".pruned.onnx")


def plan_of(output: str | Path) -> Path:
    """`OUT.plan.json` of `OUT.onnx`."""
    path = Path(output)
    return path.with_name(path.name.removesuffix(".onnx") + ".plan.json")


def require_writable(*paths: str | Path, force: bool = False) -> None:
    """PruneirError if a file cannot be made, or exists already (unless `force`)."""
    for path in map(Path, paths):
        folder = path.parent
        if path.is_dir():
            raise PruneirError(f"{path} is a folder; give the name of a file in it")
        if path.exists() and not force:
            raise PruneirError(f"{path} exists; pass --force to overwrite it, or give another name")
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise PruneirError(f"{path} cannot be written: folder {folder} {what}")
        if not os.access(folder, os.W_OK):
            raise PruneirError(f"{path} cannot be written: folder {folder} is read-only")


@contextmanager
def written(texts: dict[Path, str]) -> Iterator[None]:
    """Write text files, which take their places only when the block has ended well."""
    drafts = {path: path.with_name(f".{path.name}.{secrets.token_hex(4)}") for path in texts}
    try:
        for path, draft in drafts.items():
            draft.write_text(texts[path], encoding="utf-8")
        yield
        for path, draft in drafts.items():
            draft.replace(path)
    except OSError as error:
        shown = ", ".join(map(str, texts))
        raise PruneirError(f"{shown} cannot be written ({error.strerror}); check the folder and your rights") from None
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
