"""What `verify` finds: one thing that is wrong, in the four parts of a message."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.commit import Commit
from pipeline.shard.cut import Cut
from pipeline.shard.manifest import ShardEntry
from pipeline.shard.publish import Publish


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the file or part it is about, what was found, what was wanted, what to do."""

    part: str
    found: str
    wanted: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.part}: {self.found}; wanted {self.wanted}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do about a part: it depends on how the dataset came to be.

    `cut`: by `pairmill curate`. `merged`: by `pairmill merge`. `copied`: shards without the records of who made them.
    """

    made: str = "cut"
    finished: frozenset[str] = frozenset()
    """Shards of generations that are not cut again."""

    def of_part(self, commit: Commit) -> str:
        """For a file of a commit."""
        if commit.stage == Cut.name:
            return self._of_shard_id(commit.part)
        if commit.stage == Publish.name:
            return self.of_manifest()
        return f"Delete commits/{commit.stage}/{commit.part}.json and run again; only that part is made anew."

    def of_shard(self, entry: ShardEntry) -> str:
        """For a shard that the manifest names."""
        return self._of_shard_id(entry.id)

    def of_manifest(self) -> str:
        """For the manifest and what is written with it."""
        if self.made == "copied":
            return "Copy it again from where the shards came from."
        again = "`pairmill shard`" if self.made == "cut" else "`pairmill merge` as before"
        return f"Delete commits/{Publish.name}/all.json and run {again} to write the manifest anew."

    def _of_shard_id(self, id: str) -> str:
        if self.made == "copied":
            return "Copy the shard and its index again from where they came from."
        if id in self.finished:
            return (
                "Shards of this generation are not cut again: bring the shard back from a copy, or set shard.growth = "
                '"reshuffle" and run `pairmill shard` to cut all anew.'
            )
        again = "again" if self.made == "cut" else "`pairmill merge` as before"
        return f"Delete commits/{Cut.name}/{id}.json and run {again}; only that part is made anew."
