"""What a layout is: files out of the samples of a shard, and files out of all shards of a split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.commit import Commit
from pipeline.shard.manifest import ShardEntry


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a shard: its index row, its medium, its JSON as written, and its companions by member name."""

    row: Mapping[str, Any]
    media: bytes
    json: bytes
    companions: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shard stands: number `index` of `of` in its split. `kind` is what all media are, or media."""

    split: str
    index: int
    of: int
    kind: str


class Layout(ABC):
    """One way to lie on disk."""

    name: ClassVar[str]
    version: ClassVar[int]

    @abstractmethod
    def write(self, samples: Iterator[Sample], place: Place, scratch: Path) -> dict[str, Path]:
        """Write one shard; gives name in the folder -> local file."""

    def finish(self, splits: Mapping[str, Sequence[tuple[ShardEntry, Commit]]]) -> dict[str, bytes]:
        """Files of the whole: name -> content, from the shards of each split and what was made of them."""
        return {}
