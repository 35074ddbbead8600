"""What only the whole of a dataset can tell: records that disagree, shards out of order, keys that come twice.

Each check takes the manifest and what was seen of the shards; none reads a tar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.commit import Commit, FileStamp
from pipeline.errors import StoreError
from pipeline.shard.files import SHARDS
from pipeline.shard.key_log import KeyLog, hashes_of, keys_of
from pipeline.shard.manifest import MANIFEST, Generation, Manifest, ShardEntry, indexes_beside
from pipeline.shard.problem import Problem, Remedies
from pipeline.shard.verify_shard import ShardSeen
from pipeline.store import Store

_CUT_ANEW = {
    "cut": "Delete the folders `commits/cut` and `commits/manifest`, and run `pairmill shard`.",
    "merged": "Delete the folder, and run `pairmill merge` again.",
    "copied": "Tell its makers, or read it without one of the two shards.",
}


def with_generations(manifest: Manifest) -> Iterator[tuple[ShardEntry, Generation | None]]:
    """Each shard with the generation that it is of; None where the manifest does not say."""
    for name, split in manifest.splits.items():
        of_shards = [item for item in manifest.generations for _ in range(item.shards.get(name, 0))]
        for number, entry in enumerate(split.shards):
            yield entry, of_shards[number] if number < len(of_shards) else None


def manifest_against_commits(manifest: Manifest, cuts: Mapping[str, Commit], remedies: Remedies) -> Iterator[Problem]:
    """The manifest names exactly the shards that are committed, with their bytes."""
    remedy = remedies.of_manifest()
    stamps: dict[str, tuple[Commit, FileStamp]] = {
        stamp.name: (commit, stamp) for commit in cuts.values() for stamp in commit.files
    }
    named = set()
    for entry in manifest.entries:
        named.add(entry.tar)
        for name, sha256 in ((entry.tar, entry.sha256), (entry.index, entry.index_sha256)):
            if name not in stamps:
                yield Problem(name, "named by the manifest, committed by no part", "a committed shard", remedy)
            elif stamps[name][1].sha256 != sha256:
                found = f"the manifest says sha256 {sha256[:16]}"
                yield Problem(name, found, f"sha256 {stamps[name][1].sha256[:16]}, as committed", remedy)
        if entry.tar in stamps and stamps[entry.tar][0].rows_out != entry.samples:
            rows = stamps[entry.tar][0].rows_out
            yield Problem(entry.tar, f"the manifest says {entry.samples} samples", f"{rows}, as committed", remedy)
    for name in sorted(stamps):
        if name.endswith(".tar") and name not in named:
            yield Problem(name, "committed, but not in the manifest", "a manifest that names all shards", remedy)


def beside_the_manifest(dataset: Store, manifest: Manifest, remedies: Remedies) -> Iterator[Problem]:
    """The manifest agrees with itself, and with the indexes of other readers, which follow from it byte for byte."""
    remedy = remedies.of_manifest()
    for name, split in manifest.splits.items():
        for fact in ("samples", "bytes"):
            said, counted = getattr(split, fact), sum(getattr(entry, fact) for entry in split.shards)
            if said != counted:
                found = f"split {name} has {said} {fact}"
                yield Problem(MANIFEST, found, f"{counted}, the sum of its shards", remedy)
        shards = sum(generation.shards.get(name, 0) for generation in manifest.generations)
        if shards != len(split.shards):
            found = f"its generations have {shards} shards of split {name}"
            yield Problem(MANIFEST, found, f"{len(split.shards)}, as it names", remedy)
    for path, wanted in indexes_beside(manifest).items():
        try:
            found_bytes = dataset.read_bytes(path)
        except StoreError:
            yield Problem(path, "missing or unreadable", "the index that follows from the manifest", remedy)
            continue
        if found_bytes != wanted:
            yield Problem(path, "disagrees with the manifest", _first_difference(found_bytes, wanted), remedy)


def _first_difference(found: bytes, wanted: bytes) -> str:
    """What is wanted at the first line that differs, and what stands there."""
    have, want = (data.decode("utf-8", "replace").splitlines() for data in (found, wanted))
    pairs = enumerate(zip(have, want, strict=False))
    number = next((i for i, (one, other) in pairs if one != other), min(len(have), len(want)))
    there, here = (lines[number].strip() if number < len(lines) else "its end" for lines in (have, want))
    return f"{here!r} in line {number + 1}, where it has {there!r}"


def strangers(dataset: Store, manifest: Manifest, commits: Sequence[Commit]) -> Iterator[Problem]:
    """Files among the shards that nobody speaks of: readers that take a glob would read them."""
    known = {stamp.name for commit in commits for stamp in commit.files} | set(indexes_beside(manifest))
    for entry in manifest.entries:
        known |= {entry.tar, entry.index, f"{entry.tar.removesuffix('.tar')}_stats.json"}
    for folder in sorted({*dataset.folders(SHARDS), *manifest.splits}):
        for name in dataset.list(f"{SHARDS}/{folder}"):
            path = f"{SHARDS}/{folder}/{name}"
            if path not in known:
                yield Problem(path, "published by no part (foreign, or left by a kill)", "no such file", "Delete it.")


def between_shards(manifest: Manifest, seen: Mapping[str, ShardSeen], remedies: Remedies) -> Iterator[Problem]:
    """Within a generation, each shard goes on in the order of the whole where the one before it ends."""
    before: dict[tuple[str, int], tuple[ShardEntry, tuple[int, str]]] = {}
    for entry, generation in with_generations(manifest):
        found, place = seen[entry.name], (entry.name.split("/")[0], id(generation))
        if generation is None or found.first is None or found.last is None:
            continue
        earlier = before.get(place)
        if earlier is not None and earlier[1] >= found.first:
            wanted = f"samples that come after those of {earlier[0].tar} in the order of seed {generation.seed}"
            text = f"begins with {found.first[1]}, in the middle of {earlier[0].tar} or before it"
            yield Problem(entry.tar, text, wanted, remedies.of_shard(entry))
        before[place] = (entry, found.last)


def twice(
    dataset: Store, entries: Mapping[int, ShardEntry], keys: KeyLog, remedies: Remedies
) -> Iterator[Problem]:
    """Keys that more than one sample has: a second look at the shards that 64 bits of hash point to."""
    suspects = keys.suspects()
    first: dict[str, ShardEntry] = {}
    for number in sorted(suspects):
        entry = entries[number]
        listed = keys_of(dataset, entry.index)
        for key, value in zip(listed, hashes_of(listed).tolist(), strict=True):
            if value not in suspects[number]:
                continue
            if key in first:
                wanted = f"each key once; it is also in {first[key].tar}"
                yield Problem(entry.tar, f"key {key} again", wanted, _CUT_ANEW[remedies.made])
            first.setdefault(key, entry)
