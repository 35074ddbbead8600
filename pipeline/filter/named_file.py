"""Files that a recipe names, such as word lists and models: found or refused, and known by their content."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from pipeline.errors import RecipeError


def named_file(path: str, setting: str, wanted: str) -> Path:
    """The file of that path.

    Args:
        setting: the recipe's name of it, for errors. wanted: what to name there instead.
    Raises: RecipeError: it is not there.
    """
    found = Path(path)
    if not found.is_file():
        raise RecipeError(f"{setting} is {path!r}: no such file. Name {wanted}.")
    return found


def state_of(path: Path) -> tuple[int, int]:
    """What differs when a file was changed: for caches of what was made of it."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def content_sha256(path: Path) -> str:
    """Hash of the content, wherever the file lies; read once, as long as it stays unchanged."""
    return _sha256(path, state_of(path))


@lru_cache(maxsize=16)
def _sha256(path: Path, state: tuple[int, int]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
