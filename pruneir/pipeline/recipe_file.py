"""Reading recipes; `pruneir.pipeline.recipe` says what is in one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pruneir.errors import PruneirError
from pruneir.pipeline.recipe import Recipe


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file. PruneirError, one line with everything that is wrong."""
    try:
        return parse_recipe(Path(path).read_text(encoding="utf-8-sig"))
    except PruneirError as error:
        raise PruneirError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise PruneirError(f"{path}: no such recipe; check the path") from None
    except UnicodeDecodeError:
        raise PruneirError(f"{path}: not a text file") from None
    except OSError as error:
        raise PruneirError(f"{path}: cannot be read ({error.strerror})") from None


def parse_recipe(text: str) -> Recipe:
    """The recipe that a TOML text holds."""
    from pruneir.pipeline.recipe_schema import validated  # noqa: PLC0415 - pydantic is slow to import

    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PruneirError(f"not TOML: {error}") from None
    return validated(given)
