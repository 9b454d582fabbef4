"""The folder of an artifact: checked before any work, filled beside its place, and put there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pruneir.artifact import read_manifest
from pruneir.errors import PruneirError

_DISK = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS}
"""What is for the user to mend."""


def require_place(folder: Path, *, source: str | os.PathLike[str] | None = None, force: bool = False) -> None:
    """PruneirError unless a folder can be made there, or replaces an artifact that `force` gives up.

    source  the network, which must not lie in a folder that is replaced
    """
    place = Path(os.path.realpath(folder))
    if not place.parent.is_dir():
        what = "is not a folder" if place.parent.exists() else "does not exist"
        raise PruneirError(f"{folder} cannot be written: folder {place.parent} {what}")
    if not os.access(place.parent, os.W_OK):
        raise PruneirError(f"{folder} cannot be written: folder {place.parent} is read-only")
    if not place.exists():
        return
    if not place.is_dir():
        raise PruneirError(f"{folder} is a file; give the name of a new folder")
    if Path.cwd().is_relative_to(place):
        raise PruneirError(f"{folder} is the folder that you are in; give the name of a new one")
    if not any(place.iterdir()):
        return
    try:
        read_manifest(place)
    except PruneirError:
        raise PruneirError(f"{folder} holds files that are no artifact; give the name of a new folder") from None
    if not force:
        raise PruneirError(f"{folder} exists; pass --force (force=True in Python) to replace it, or give another name")
    if source is not None and Path(os.path.realpath(source)).is_relative_to(place):
        raise PruneirError(f"{folder} holds the input, {os.fspath(source)}, and would be replaced; write elsewhere")


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, which takes its place when the block has ended well."""
    place = Path(os.path.realpath(folder))
    mark = secrets.token_hex(4)
    draft, old = (place.with_name(f".{place.name}.{what}-{mark}") for what in ("new", "old"))
    try:
        draft.mkdir()
    except OSError as error:
        raise PruneirError(f"{folder} cannot be written ({error.strerror}); give another place") from None
    try:
        yield draft
        if place.exists():
            place.rename(old)
        try:
            draft.rename(place)
        except BaseException:
            if old.exists():
                old.rename(place)
            raise
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise PruneirError(f"{folder} cannot be written ({error.strerror}); check the folder and your rights") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
