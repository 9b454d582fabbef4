"""Where results go: names beside the input, checked before any work, and written whole or not at all.

And which files options name: these are fields with `metadata=NAMED`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from pruneir.errors import PruneirError

NAMED = {"file": True}
"""Of a dataclass's field: its value is the path of a file that is read, or None."""
CODE = {"code": True}
"""Of a dataclass's field: its value may be `module:function`, of a Python file that is run."""


def digests(options: Any) -> dict[str, str]:
    """SHA-256 of the files that the fields of a dataclass name, by field; a file that cannot be read has none."""
    from pruneir.data.entry import code_of, is_entry  # noqa: PLC0415 - few runs name such files

    found = {}
    for field in fields(options):
        given = getattr(options, field.name) if field.metadata in (NAMED, CODE) else None
        if field.metadata == NAMED and given is not None:
            found[field.name] = digest_of(Path(given))
        elif field.metadata == CODE and is_entry(str(given)):
            found[field.name] = code_of(str(given))
    return {name: digest for name, digest in found.items() if digest}


def digest_of(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def beside(source: str | Path) -> Path:
    """`model.pruned.onnx` beside `model.onnx`."""
    path = _named(source)
    return path.with_name(path.name.removesuffix(".onnx") + ".pruned.onnx")


def plan_of(output: str | Path) -> Path:
    """`OUT.plan.json` of `OUT.onnx`."""
    path = _named(output)
    return path.with_name(path.name.removesuffix(".onnx") + ".plan.json")


def data_of(model: str | Path) -> Path:
    """`OUT.onnx.data` of `OUT.onnx`, where large tensors lie."""
    path = _named(model)
    return path.with_name(path.name + ".data")


def require_apart(
    output: Path, *, source: str | Path | None = None, recipe: str | os.PathLike[str] | None = None
) -> None:
    """PruneirError if what is written would replace the input, or the recipe another file that is written."""
    if source is not None:
        for path in (output, plan_of(output), data_of(output)):
            if _same(path, source) or _same(path, data_of(source)):
                raise PruneirError(f"{path} is the input, which the plan refers to; write elsewhere")
    if recipe is None:
        return
    taken = {"the output": output, "the output's plan": plan_of(output), "the output's data": data_of(output)}
    if source is not None:
        taken |= {"the input": Path(source), "the input's data": data_of(source)}
    for what, path in taken.items():
        if _same(recipe, path):
            raise PruneirError(f"--write-recipe: {os.fspath(recipe)} is {what}; give the recipe a file of its own")


def require_writable(*paths: str | Path, force: bool = False) -> None:
    """PruneirError if a file cannot be made, or exists already (unless `force`)."""
    for path in map(Path, paths):
        folder = path.parent
        if path.is_dir():
            raise PruneirError(f"{path} is a folder; give the name of a file in it")
        if path.exists() and not force:
            raise PruneirError(
                f"{path} exists; pass --force (force=True in Python) to overwrite it, or give another name"
            )
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise PruneirError(f"{path} cannot be written: folder {folder} {what}")
        if not os.access(folder, os.W_OK):
            raise PruneirError(f"{path} cannot be written: folder {folder} is read-only")


def _named(path: str | Path) -> Path:
    """The path. PruneirError if it ends in no name, as `.` and `/` do."""
    if not Path(path).name:
        raise PruneirError(f"{path}: is a folder; give the .onnx file in it")
    return Path(path)


def _same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file, be it there yet or not."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


@contextmanager
def drafted(*paths: Path) -> Iterator[list[Path]]:
    """Drafts of some files, which take their places only when the block has ended well."""
    drafts = [path.with_name(f".{path.name}.{secrets.token_hex(4)}") for path in paths]
    try:
        yield drafts
        for path, draft in zip(paths, drafts, strict=True):
            draft.replace(path)
    except OSError as error:
        shown = ", ".join(map(str, paths))
        raise PruneirError(f"{shown} cannot be written ({error.strerror}); check the folder and your rights") from None
    finally:
        for draft in drafts:
            with suppress(OSError):  # what went wrong first is told
                draft.unlink(missing_ok=True)


@contextmanager
def written(texts: dict[Path, str]) -> Iterator[None]:
    """Write text files, which take their places only when the block has ended well."""
    with drafted(*texts) as drafts:
        for text, draft in zip(texts.values(), drafts, strict=True):
            draft.write_text(text, encoding="utf-8")
        yield
