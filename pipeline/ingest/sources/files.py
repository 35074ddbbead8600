"""The files of a list: found by path, pattern or folder in any store, and opened as (decompressed) byte streams."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, cast

from pipeline.errors import SourceError, StoreError, nearest
from pipeline.store import Store

_COMPRESSION: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_ENDINGS = {*_COMPRESSION, ".parquet", ".snappy", ".c000", ".tsv", ".csv", ".txt", ".jsonl", ".ndjson", ".json", ".tar"}
_WILD = frozenset("*?[")
_SECRETS = re.compile(r"(?<=://)[^/]*@|[?#].*", re.DOTALL)

UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a list raises where its bytes cannot be had."""


@dataclass(frozen=True, slots=True)
class ListFile:
    """One file of a list.

    `label` begins the identifiers of rows that have none of their own: the file's name without endings, with as
    many of its folders as it takes to differ from the other files. `stamp` changes when the file does.
    """

    index: int
    path: str
    label: str
    stamp: str
    split: str | None = None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def place(self) -> str:
        """Where it lies, as it may be recorded: of a URL no user, no password, no query, no fragment."""
        return _SECRETS.sub("", self.path) if "://" in self.path else self.path


def find_lists(entries: Sequence[tuple[str, str | None]], suffixes: Sequence[str]) -> list[ListFile]:
    """The files that `entries` of (path, split) name; those of a pattern or folder sorted by path.

    Raises: SourceError: an entry names nothing, or a file is named twice.
    """
    found = [(path, stamp, split) for entry, split in entries for path, stamp in _expand(entry, suffixes)]
    paths = [path for path, _, _ in found]
    for path, count in Counter(paths).items():
        if count > 1:
            raise SourceError(f"{path}: named {count} times in the recipe's [source]. Name each list once.")
    labels = short_labels(paths)
    return [ListFile(i, path, labels[i], stamp, split) for i, (path, stamp, split) in enumerate(found)]


@contextmanager
def open_list(path: str, unpack: bool = True) -> Iterator[IO[bytes]]:
    """The file at `path` as a binary stream, decompressed by its ending (.gz, .bz2, .xz) unless `unpack` is False.

    Raises: SourceError: it cannot be opened. While it is read: what `UNREADABLE` names.
    """
    store, name = _split(path)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(store.open(name))
            if not store.is_local:  # fsspec's remote files know no readline(limit)
                stream = stack.enter_context(io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20))
        except StoreError as error:
            raise SourceError(f"{error}. Correct the recipe's [source], or the rights to the file.") from None
        opener = _COMPRESSION.get(PurePosixPath(name).suffix) if unpack else None
        yield stream if opener is None else opener(stream, "rb")


def stamp_of(path: str) -> str:
    """What changes when the file at `path` does. Raises: SourceError: there is no such file."""
    try:
        return _stamp(path)
    except Exception as error:  # a store's client raises what it likes
        raise SourceError(f"{path}: cannot be read: {type(error).__name__}: {error}") from None


def beside(path: str, name: str) -> str:
    """The path of a file `name` in the folder of the file at `path`."""
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{name}"


def exists(path: str) -> bool:
    """Whether there is a file at `path`. Raises: SourceError: its store cannot be asked."""
    store, name = _split(path)
    try:
        return bool(store.fs.isfile(store.path(name)))
    except Exception as error:  # a store's client raises what it likes
        raise SourceError(f"{path}: cannot look there: {type(error).__name__}: {error}") from None


def plain_name(path: str) -> str:
    """The name of a file without its compression ending, in lower case; its last suffix tells the format."""
    name = PurePosixPath(path).name.lower()
    ending = PurePosixPath(name).suffix
    return name.removesuffix(ending) if ending in _COMPRESSION else name


def _expand(entry: str, suffixes: Sequence[str]) -> list[tuple[str, str]]:
    store, name = _split(entry)
    try:
        if _WILD & set(name):
            found = sorted(store.fs.glob(store.path(name)))
            paths = [_with_protocol(store, path) for path in found if store.fs.isfile(path)]
        elif store.fs.isfile(store.path(name)):
            paths = [entry]
        else:
            folder = store.folder(name) if name else store
            paths = [f"{folder.url}/{item}" for item in folder.list("") if plain_name(item).endswith(tuple(suffixes))]
        if not paths:
            raise SourceError(_nothing_there(entry, store, name, suffixes))
        with ThreadPoolExecutor(16) as pool:
            return list(zip(paths, pool.map(_stamp, paths), strict=True))
    except SourceError:
        raise
    except Exception as error:  # a store's client raises what it likes: no credentials, no such bucket, bad pattern
        raise SourceError(f"{entry}: cannot look for lists there: {type(error).__name__}: {error}") from error


def _nothing_there(entry: str, store: Store, name: str, suffixes: Sequence[str]) -> str:
    if _WILD & set(name):
        return f"{entry}: no file matches this pattern. Correct the recipe's [source]."
    if store.fs.isdir(store.path(name)):
        return f"{entry}: a folder without a file that ends in {' or '.join(suffixes)}. Name a file or a pattern."
    listed = store.fs.ls(store.root, detail=True) if store.fs.isdir(store.root) else []
    beside = [item["name"].rsplit("/", 1)[-1] for item in listed]
    return f"{entry}: no such file or folder. {nearest(name, beside[:1000])}".rstrip()


def _split(path: str) -> tuple[Store, str]:
    """The store and the name in it; a pattern's store is the folder above its first wild part."""
    parts = path.rstrip("/").split("/")
    if "://" in path and len(parts) <= 3:  # a whole bucket
        return Store(path.rstrip("/")), ""
    fixed = next((i for i, part in enumerate(parts) if _WILD & set(part)), len(parts) - 1)
    folder = "/".join(parts[:fixed])
    if not folder:
        folder = "/" if path.startswith("/") else "."
    return Store(folder), "/".join(parts[fixed:])


def _with_protocol(store: Store, path: str) -> str:
    return path if store.is_local else store.fs.unstrip_protocol(path)


def _stamp(path: str) -> str:
    store, name = _split(path)
    facts = store.fs.info(store.path(name))
    version = facts.get("ETag") or facts.get("mtime") or facts.get("LastModified") or ""
    return f"{facts.get('size')}-{version}"


def short_labels(paths: Sequence[str]) -> list[str]:
    """For each path, the shortest tail of it that no other path shares, without endings."""
    parts = [path.split("/") for path in paths]
    depth = [1] * len(paths)

    def label(i: int) -> str:
        *folders, name = parts[i][-depth[i] :]
        while PurePosixPath(name).suffix.lower() in _ENDINGS:
            name = PurePosixPath(name).stem
        return "/".join([*folders, name])

    for _ in range(max((len(item) for item in parts), default=0)):
        seen = Counter(label(i) for i in range(len(paths)))
        clashing = [i for i in range(len(paths)) if seen[label(i)] > 1]
        if not clashing:
            break
        for i in clashing:
            depth[i] += 1
    labels = [label(i) for i in range(len(paths))]
    return labels if len(set(labels)) == len(labels) else ["/".join(item) for item in parts]
