"""A folder of images on this machine: one row per image, with the files that belong to it as companions.

    [source]
    kind = "folder"
    path = "data/camvid/images"
    companions = [{ role = "segmentation", path = "../masks/{stem}_L.png" }]

    [fetch]
    allow_folders = ["data/camvid"]

Each image is read by its `file://` URL, so `fetch.allow_folders` must name the folder. The names of all files below
it, and of their companions, are held in memory while it is read.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from posixpath import basename, dirname, join, normpath, split
from typing import Literal

from pydantic import Field, field_validator

from pipeline.errors import SourceError, nearest
from pipeline.ingest.sources.files import ListFile, short_labels
from pipeline.ingest.sources.media import media_url
from pipeline.ingest.sources.rows import Row, RowCompanion, RowText
from pipeline.ingest.sources.source import Source, SourceConfig
from pipeline.recipe import RecipeTable
from pipeline.record import ROLE


class Companion(RecipeTable):
    """A file that belongs to each image."""

    role: str = Field(pattern=f"^{ROLE.pattern}$")
    """What it is: segmentation, parts, depth, ... It becomes part of a file's name, `{key}.{role}.png`."""
    path: str
    """Where it is, from the folder of the image: `{stem}` stands for the image's name without its ending, and one `*`
    for anything in a file's name, for companions of which there are several."""
    absent: Literal["fault", "fine"] = "fault"
    """Whether an image without it is a bad row."""

    @field_validator("path")
    @classmethod
    def _one_file_of_each_image(cls, value: str) -> str:
        if "{stem}" not in value or value.count("*") > 1 or "*" in dirname(value):
            raise ValueError(f"{value!r}: wanted {{stem}} in it, and at most one *, in the file's name")
        return value


class FolderConfig(SourceConfig):
    """Settings of the `folder` source. Each path is a local folder; all folders below it belong to it."""

    endings: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
    """Endings of images, in lower case. A file that is a companion of an image is no image of its own."""
    companions: tuple[Companion, ...] = ()
    """The files that belong to each image."""
    folder_text: str | None = None
    """A kind of text (such as `label` or `scene`) that the name of an image's folder is; none where it is no text."""


class Folder(Source):
    """Images in a folder. A row's identifier is its path, from the name of the folder that the recipe names."""

    Config = FolderConfig
    suffixes = ("/",)
    licence = "that of the images' owner"
    citation = "none: a folder of the user's own"
    config: FolderConfig

    def files(self) -> list[ListFile]:
        """One per folder that the recipe names. Raises: SourceError: one is no local folder."""
        if self._files is None:
            entries = self.config.entries
            for entry in entries:
                _need_folder(entry.path)
            labels = short_labels([entry.path.rstrip("/") for entry in entries])
            self._files = [
                ListFile(index, entry.path, labels[index], self._stamp(entry.path), entry.split)
                for index, entry in enumerate(entries)
            ]
        return self._files

    def check_file(self, file: ListFile) -> None:
        """There must be an image, and of the first hundred one that has its companions."""
        first_fault = "no file ends in " + " or ".join(self.config.endings)
        for row, _ in zip(self.rows(file), range(100), strict=False):
            if row.fault is None:
                return
            first_fault = row.fault
        raise SourceError(f"{file.path}: {first_fault}. Correct the recipe's [source], or the path.")

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per image, sorted by path."""
        root = os.path.abspath(file.path)
        names = [name for name in _names(root) if name.lower().endswith(self.config.endings)]
        found = self._companions(root, names)
        taken = {path for of_image in found.values() for _, path in of_image}
        for number, name in enumerate(name for name in names if join(root, name) not in taken):
            roles = {role for role, _ in found[name]}
            lacking = [item for item in self.config.companions if item.absent == "fault" and item.role not in roles]
            yield Row(
                number,
                _file_url(join(root, name)),
                self._texts(name, file),
                f"{file.label}/{name}",
                fault=f"{lacking[0].role}: no {_place(lacking[0], name)}" if lacking else None,
                companions=[RowCompanion(role, _file_url(path)) for role, path in found[name]],
            )

    def _stamp(self, path: str) -> str:
        """Changes when a file below the folder does, or a companion elsewhere comes or goes."""
        root = os.path.abspath(path)
        names = _names(root)
        digest = hashlib.blake2b(digest_size=16)
        for name in names:
            facts = os.lstat(join(root, name))
            digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
        images = [name for name in names if name.lower().endswith(self.config.endings)]
        digest.update(repr(self._companions(root, images)).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()

    def _texts(self, name: str, file: ListFile) -> list[RowText]:
        if self.config.folder_text is None:
            return []
        folder = basename(dirname(name)) or basename(file.path.rstrip("/"))
        return [RowText(folder.replace("_", " "), self.config.folder_text)]

    def _companions(self, root: str, names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """By image: (role, path) of those of its companions that are there."""
        inside: dict[str, list[str]] = {}
        found: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
        for name, item in product(names, self.config.companions):
            folder, pattern = split(normpath(join(root, _place(item, name))))
            if folder not in inside:
                inside[folder] = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            for other in _matching(pattern, inside[folder]):
                path = join(folder, other)
                if path != join(root, name):
                    found[name].append((item.role, path))
        return found


def _matching(pattern: str, names: Sequence[str]) -> Iterator[str]:
    """Those of the sorted `names` that are `pattern`, in which one * stands for anything."""
    before, star, after = pattern.partition("*")
    for i in range(bisect_left(names, before), len(names)):
        if not names[i].startswith(before):
            return
        if names[i] == before if not star else names[i].endswith(after):
            yield names[i]


def _file_url(path: str) -> str:
    return media_url(dirname(path), basename(path)) or ""


def _place(item: Companion, name: str) -> str:
    """Where the companion of the image `name` is, from the folder that the recipe names."""
    stem = basename(name).rpartition(".")[0]
    return normpath(join(dirname(name), item.path.replace("{stem}", stem)))


def _need_folder(path: str) -> None:
    if "://" in path:
        raise SourceError(f"{path}: not a folder of this machine, which is all that this source reads. Copy it here.")
    if not os.path.isdir(path):
        above = Path(path).absolute().parent
        names = [item.name for item in above.iterdir() if item.is_dir()] if above.is_dir() else []
        raise SourceError(f"{path}: no such folder. {nearest(Path(path).name, names[:1000])}".rstrip())


def _names(folder: str) -> list[str]:
    """Paths of all files below `folder`, from it, sorted; hidden ones and links to folders left out."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(place, folder)
        found += [normpath(join(inside, name)) for name in files if not name.startswith(".")]
    return sorted(found)
