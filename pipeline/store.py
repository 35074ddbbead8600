"""A store: a folder on this machine or in a bucket, through fsspec, with writes that are whole or absent.

Everything pairmill reads and writes goes through here. What is published is uploaded from a finished local file
(`put_file`) or from memory (`put_bytes`): an exception inside `with fs.open(..., "wb")` publishes the torn file,
so no store file is ever written as a stream.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec
from fsspec.asyn import sync
from fsspec.exceptions import FSTimeoutError

from pipeline.errors import StoreError

CONNECTIONS = 64
"""Requests at once to a bucket from one process; the client's own 10 make a cut wait for latency."""
_UPLOADS = 3
_STALLED_S = 60.0
_SLOWEST_BYTES_PER_S = 256e3
"""An upload that takes longer than a minute and this rate has stalled, and is tried again."""


@dataclass(frozen=True)
class Store:
    """A folder named by `url`: a local path, or a URL that fsspec knows (`s3://bucket/folder`).

    Pickles as its URL alone, so credentials never travel: every machine takes them from its environment. A local
    path travels as an absolute one, since workers have other working folders.
    """

    url: str
    _cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.root if self.is_local else self.url,)

    @property
    def is_local(self) -> bool:
        """Whether files of this store are plain files of this machine."""
        return "://" not in self.url or self.url.startswith("file://")

    @property
    def root(self) -> str:
        """Path of the folder as the file system wants it, without a trailing slash."""
        if self.is_local:
            return os.path.abspath(self.url.removeprefix("file://"))
        return self.fs._strip_protocol(self.url).rstrip("/")

    @property
    def memory(self) -> dict[str, Any]:
        """What readers of this store remember of it, in this object alone: it does not travel."""
        return self._cache.setdefault("memory", {})

    @property
    def fs(self) -> Any:
        """The fsspec file system, opened once per process and store."""
        pid = os.getpid()  # s3fs holds an event loop that does not survive a fork
        if self._cache.get("pid") != pid:
            try:
                protocol = "file" if self.is_local else urlsplit(self.url).scheme
                # Listings are cached by default; a stale one would hide parts that others have published.
                options: dict[str, Any] = {} if self.is_local else {"use_listings_cache": False}
                if protocol in ("s3", "s3a"):
                    options["config_kwargs"] = {"max_pool_connections": CONNECTIONS}
                self._cache.update(pid=pid, fs=fsspec.filesystem(protocol, **options))
            except (ImportError, ValueError) as error:
                raise StoreError(f"{self.url}: cannot open this kind of store: {error}") from None
        return self._cache["fs"]

    def path(self, name: str) -> str:
        """Path of `name` as the file system wants it."""
        return f"{self.root}/{name}" if name else self.root

    def folder(self, name: str) -> Store:
        """The store that is the folder `name` of this one."""
        return Store(f"{self.url.rstrip('/')}/{name}")

    def local_path(self, name: str) -> Path:
        """The plain file behind `name`; only where `is_local`."""
        if not self.is_local:
            raise StoreError(f"{self.url}: not on this machine, so {name} has no local path; use `fetched`.")
        return Path(self.path(name))

    def exists(self, name: str) -> bool:
        """Whether the file `name` is there."""
        return self._try(name, lambda: self.fs.exists(self.path(name)))

    def size(self, name: str) -> int:
        """Bytes of the file `name`."""
        return self._try(name, lambda: self.fs.info(self.path(name))["size"])

    def list(self, folder: str, suffix: str = "") -> list[str]:
        """Names of the files directly inside `folder` that end in `suffix`, sorted; empty where there is no folder."""
        return list(self.versions(folder, suffix))

    def versions(self, folder: str, suffix: str = "") -> dict[str, tuple[Any, ...] | None]:
        """Those names, each with what tells its file from an earlier one of that name; None where the store cannot."""
        try:
            entries = self.fs.ls(self.path(folder), detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise StoreError(f"{self.url}/{folder}: cannot list: {_reason(error)}") from error
        found = {entry["name"].rsplit("/", 1)[-1]: _version(entry) for entry in entries if entry["type"] == "file"}
        return {name: found[name] for name in sorted(found) if name.endswith(suffix)}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly inside `folder`, sorted; empty where there is no folder."""
        try:
            entries = self.fs.ls(self.path(folder), detail=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self.url}/{folder}: cannot list: {error}") from error
        return sorted(entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory")

    def read_bytes(self, name: str) -> bytes:
        """All bytes of the file `name`."""
        return self._try(name, lambda: self.fs.cat_file(self.path(name)))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of the file `name` from `offset`."""
        data = self._try(name, lambda: self.fs.cat_file(self.path(name), start=offset, end=offset + size))
        if len(data) != size:
            raise StoreError(f"{self.url}/{name}: wanted bytes {offset}..{offset + size}, got {len(data)}: truncated.")
        return data

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The file `name` as a seekable binary stream; remote files are read in blocks."""
        try:
            stream = self.fs.open(self.path(name), "rb")
        except Exception as error:
            raise StoreError(f"{self.url}/{name}: cannot open: {_reason(error)}") from error
        with stream:
            yield stream

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """The file `name` as a plain local file: itself where local, else a copy that goes away afterwards."""
        if self.is_local:
            yield self.local_path(name)
            return
        with tempfile.TemporaryDirectory(prefix="pairmill-") as folder:
            local = Path(folder) / Path(name).name
            self._try(name, lambda: self.fs.get_file(self.path(name), str(local)))
            yield local

    def put_file(self, local: Path, name: str) -> None:
        """Publish a finished local file as `name`, replacing what was there; whole or not at all. Consumes `local`."""
        if not self.is_local:
            size = local.stat().st_size
            self._try(name, lambda: self._upload("put_file", size, str(local), self.path(name)))
            local.unlink()
            return
        final = self.local_path(name)
        near = _beside(final)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            if local.stat().st_dev != final.parent.stat().st_dev:
                shutil.copyfile(local, near)  # a rename cannot cross file systems
                local.unlink()
                local = near
            with local.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(local, final)
        except OSError as error:
            _drop(near)
            raise StoreError(f"{final}: cannot write: {_reason(error)}. {_free_space(final)}") from error

    def put_bytes(self, name: str, data: bytes) -> None:
        """Publish `data` as `name`, replacing what was there; whole or not at all."""
        if not self.is_local:
            self._try(name, lambda: self._upload("pipe_file", len(data), self.path(name), data))
            return
        final = self.local_path(name)
        near = _beside(final)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            near.write_bytes(data)
        except OSError as error:
            _drop(near)
            raise StoreError(f"{final}: cannot write: {_reason(error)}. {_free_space(final)}") from error
        self.put_file(near, name)

    def may_copy_from(self, other: Store) -> bool:
        """Whether the store itself copies files of `other`, so that their bytes need not come here: within buckets."""
        return not self.is_local and not other.is_local and urlsplit(self.url).scheme == urlsplit(other.url).scheme

    def copy_within(self, other: Store, there: str, name: str) -> None:
        """Publish the file `there` of `other` as `name`, where `may_copy_from` says so; whole or not at all."""
        self._try(name, lambda: self.fs.copy(other.path(there), self.path(name)))

    def delete(self, name: str) -> None:
        """Remove the file or folder `name`; nothing happens where it is absent."""
        try:
            self.fs.rm(self.path(name), recursive=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise StoreError(f"{self.url}/{name}: cannot delete: {_reason(error)}") from error

    def move(self, there: str, name: str) -> None:
        """Publish the file `there` of this store as `name`; a bucket copies it by itself, whole or not at all."""
        if self.is_local:
            self.put_file(self.local_path(there), name)
            return
        self._try(there, lambda: self.fs.copy(self.path(there), self.path(name)))
        self.delete(there)

    def _upload(self, method: str, num_bytes: int, *what: Any) -> None:
        """Write, with an end: clients of object stores wait for ever where a server stops reading."""
        if not self.fs.async_impl:
            getattr(self.fs, method)(*what)
            return
        limit_s = _STALLED_S + num_bytes / _SLOWEST_BYTES_PER_S
        for tries in range(_UPLOADS):
            try:
                sync(self.fs.loop, getattr(self.fs, f"_{method}"), *what, timeout=limit_s)
                return
            except FSTimeoutError:
                if tries + 1 < _UPLOADS:
                    time.sleep(2.0**tries)
        raise TimeoutError(f"cannot write: none of {_UPLOADS} tries ended within {limit_s:.0f} s. Look at the store.")

    def _try(self, name: str, call: Any) -> Any:
        """Run a store call; a missing file is told at once, what may pass is tried again by the file system itself."""
        try:
            return call()
        except FileNotFoundError:
            raise StoreError(f"{self.url}/{name}: not found.") from None
        except PermissionError as error:
            raise StoreError(
                f"{self.url}/{name}: access refused: {_reason(error)}. Check the credentials in the environment."
            ) from error
        except Exception as error:
            # object stores raise errors of their own client, such as botocore's EndpointConnectionError
            raise StoreError(f"{self.url}/{name}: {_reason(error)}") from error


def _drop(near: Path) -> None:
    """Remove an unfinished file, where there is one and it may be removed."""
    with suppress(OSError):
        near.unlink(missing_ok=True)


def _beside(final: Path) -> Path:
    """A temporary name next to `final`, of this process and thread alone."""
    return final.with_name(f".{final.name}.{os.getpid()}-{threading.get_ident()}.tmp")


def _version(entry: dict[str, Any]) -> tuple[Any, ...] | None:
    """A published file is a new one by rename or upload, so a folder tells by number and time, a bucket by its tag."""
    if "ino" in entry:
        return entry["ino"], entry["mtime"], entry["size"]
    tag = entry.get("ETag")
    return None if tag is None else (tag, str(entry.get("LastModified")), entry["size"])


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _free_space(path: Path) -> str:
    parent = next((folder for folder in path.parents if folder.exists()), None)
    if parent is None:
        return ""
    return f"{shutil.disk_usage(parent).free / 1e9:.1f} GB are free there."
