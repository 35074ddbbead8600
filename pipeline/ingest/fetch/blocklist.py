"""Lists of what is never fetched or kept: URLs, domains, and hashes of bodies.

Takes text files in any store, one entry per line (`#` begins a comment, .gz is unpacked). Content is compared by
its hash alone: what a list names is never decoded, shown or written. Reasons name the list and not the entry. Hashes
and URLs lie in memory as sorted digests of 16 or 32 bytes, so 16 million of them take 0.25 to 0.5 GB per worker.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from yarl import URL

from pipeline.addresses import as_domain, as_url, domains_of, url_digest
from pipeline.errors import RecipeError, SourceError
from pipeline.ingest.sources.files import UNREADABLE, open_list
from pipeline.recipe import RecipeTable

_MAX_LINE = 1 << 16
_KIND_BY_DIGITS = {32: "md5", 64: "sha256"}


class BlockConfig(RecipeTable):
    """The `[fetch.block]` table: paths of text files, one entry per line."""

    urls: str | None = None
    """URLs, compared without scheme, fragment and the case of the host."""
    domains: str | None = None
    """Domains; each blocks its subdomains too."""
    hashes: str | None = None
    """md5 or sha256 of bodies as hex, compared with what the list promises and with what was received."""

    def check(self) -> None:
        """Read the lists once, before any work starts. Raises: RecipeError: a file or an entry is wrong."""
        _load(self)

    def content(self) -> str | None:
        """Hash of what the lists hold, so that a longer list makes parts stale; None where there is none."""
        if (self.urls, self.domains, self.hashes) == (None, None, None):
            return None
        digest = hashlib.sha256()
        for kind in ("urls", "domains", "hashes"):
            path = getattr(self, kind)
            for line in () if path is None else _read(kind, path):
                digest.update(f"{kind} ".encode() + line + b"\n")
        return digest.hexdigest()


class SortedDigests:
    """A set of digests of one size in as many bytes as they have."""

    def __init__(self, size: int, packed: bytes | bytearray) -> None:
        self._size = size
        words = np.frombuffer(packed, dtype=">u8").reshape(-1, size // 8).astype(np.uint64)
        self._words = words[np.lexsort(words.T[::-1])]

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, digest: bytes) -> bool:
        words = self._words
        if len(digest) != self._size:
            return False
        low, high = 0, len(words)
        for column, word in enumerate(np.frombuffer(digest, dtype=">u8").astype(np.uint64)):
            part = words[low:high, column]
            low, high = low + int(np.searchsorted(part, word)), low + int(np.searchsorted(part, word, "right"))
            if low == high:
                return False
        return True


@dataclass(frozen=True)
class BlockList:
    """The lists of a recipe, loaded. Each question gives the reason to refuse, or None."""

    urls: SortedDigests | None = None
    domains: frozenset[str] = frozenset()
    md5: SortedDigests | None = None
    sha256: SortedDigests | None = None

    @property
    def wants_md5(self) -> bool:
        """Whether bodies have to be hashed by md5 too."""
        return self.md5 is not None

    def of_url(self, url: URL) -> str | None:
        """Whether this URL or its domain is blocked."""
        if self.domains and any(domain in self.domains for domain in domains_of(url)):
            return "its domain is on the block list"
        if self.urls is not None and url_digest(url) in self.urls:
            return "its URL is on the block list"
        return None

    def of_hashes(self, hashes: Iterable[str]) -> str | None:
        """Whether one of `hashes` (`md5:<hex>` or `sha256:<hex>`) is blocked."""
        for item in hashes:
            kind, _, text = item.partition(":")
            known = self.md5 if kind == "md5" else self.sha256
            if known is not None and _KIND_BY_DIGITS.get(len(text)) == kind and _digest(text) in known:
                return f"its {kind} is on the block list"
        return None


NO_BLOCKS = BlockList()


@functools.lru_cache(1)
def load_block_list(config: BlockConfig, content: str | None) -> BlockList:
    """The lists that `config` names, read once per worker and `content`.

    Raises: RecipeError: a file or an entry is wrong.
    """
    return _load(config)


def _load(config: BlockConfig) -> BlockList:
    urls = domains = None
    hashes: dict[str, bytearray] = {}
    if config.urls is not None:
        urls = SortedDigests(16, b"".join(url_digest(as_url(_text(line))) for line in _read("urls", config.urls)))
    if config.domains is not None:
        domains = frozenset(as_domain(_text(line)) for line in _read("domains", config.domains))
    if config.hashes is not None:
        for line in _read("hashes", config.hashes):
            kind = _KIND_BY_DIGITS.get(len(line))
            try:
                hashes.setdefault(kind or "", bytearray()).extend(bytes.fromhex(line.decode("ascii") if kind else "?"))
            except ValueError:
                raise RecipeError(
                    f"fetch.block.hashes: {config.hashes}: a line of {len(line)} characters is no hash; wanted md5 "
                    "or sha256 as hex, one per line. Correct the file."
                ) from None
    sizes = {"md5": 16, "sha256": 32}
    tables = {kind: SortedDigests(sizes[kind], packed) for kind, packed in hashes.items()}
    return BlockList(urls, domains or frozenset(), tables.get("md5"), tables.get("sha256"))


def _read(kind: str, path: str) -> Iterator[bytes]:
    """The entries of one list."""
    try:
        with open_list(path) as stream:
            while line := stream.readline(_MAX_LINE):
                entry = line.strip()
                if kind != "urls":
                    entry = entry.partition(b"#")[0].strip()
                if entry and not entry.startswith(b"#"):
                    yield entry
    except (SourceError, *UNREADABLE) as error:
        raise RecipeError(f"fetch.block.{kind}: {path}: cannot be read: {error}. Name a text file.") from None


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _digest(text: str) -> bytes:
    """The bytes of a promised hash; of one that is not hex, which lists may hold, none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
