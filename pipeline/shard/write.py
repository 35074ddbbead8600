"""From verdicts to a finished set of shards: order, sort, cut, manifest, on whatever engine it is handed.

Takes judged parts, gives `shards/` with its manifest. Every step is a stage, so a killed run resumes; shards that
a changed recipe no longer makes are removed before the new manifest says what there is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence

from pipeline.commit import Commit, drop_part, read_commit, read_commits
from pipeline.engine import Engine
from pipeline.errors import DatasetError
from pipeline.recipe import digest_of
from pipeline.shard.cut import SHARDS, Cut
from pipeline.shard.manifest import Manifest, Publish, read_manifest
from pipeline.shard.order import FETCH, JUDGE, Order, Sort
from pipeline.shard.plan import PlannedShard, ShardConfig, plan_shards
from pipeline.shuffle import bucket_bits, shuffle
from pipeline.store import Store

log = logging.getLogger(__name__)

_PART_FILE = re.compile(r"[0-9]{5,}(\.tar|\.parquet|_stats\.json)")
"""Files that a part of these stages makes; whatever else lies in their folders is somebody's."""


def write_shards(
    engine: Engine,
    config: ShardConfig,
    judged_parts: Sequence[str],
    name: str,
    *,
    funnel: Sequence[tuple[str, int, int]] = (),
) -> Manifest:
    """Bring the shards of a dataset up to date.

    Args:
        judged_parts: ids of the parts to take, each committed by the stages `fetch` and `judge`.
        name: what the dataset is called in its manifest and card.
        funnel: (stage, rows in, rows out) of the stages before, for the card.
    Raises: DatasetError: a part is not committed, or no sample was kept.
    """
    dataset = engine.dataset
    fetched, judged = _inputs(dataset, FETCH, judged_parts), _inputs(dataset, JUDGE, judged_parts)
    kept = sum(commit.rows_out for commit in judged)
    order = Order(bucket_bits(kept, config.bucket_rows), config)
    sort = Sort(order, judged_parts)
    buckets = shuffle(engine, order, [order.part(id) for id in judged_parts], sort)
    shards = plan_shards(buckets, config.samples)
    if not shards:
        raise DatasetError(
            f"{dataset.url}: no sample of {len(judged_parts)} parts was kept, so there is nothing to shard. "
            "Look at the funnel for the rule that drops them, and loosen it."
        )
    cut = Cut(digest_of([commit.content() for commit in fetched]))
    _cut(engine, cut, shards)
    _drop_others(dataset, order.name, set(judged_parts), [f"shuffle/{order.name}/scatter"])
    _drop_others(dataset, sort.name, set(buckets), [f"shuffle/{sort.name}/gather"])
    publish = Publish(name, config.seed, config.samples)
    engine.run(publish, [publish.part(shards, funnel)])
    manifest = read_manifest(dataset)
    log.info("sharded name=%s shards=%d fingerprint=%s", name, len(shards), manifest.fingerprint())
    return manifest


def _cut(engine: Engine, cut: Cut, shards: Sequence[PlannedShard]) -> None:
    """Make the shards; where any changes or goes, the old manifest goes first, since it would speak of other bytes."""
    parts = [cut.part(shard) for shard in shards]
    wanted = {part.id for part in parts}
    _, pending = engine.plan(cut, parts)
    if pending or read_commits(engine.dataset, cut.name).keys() - wanted:
        standing = read_commit(engine.dataset, Publish.name, "all")
        if standing is not None:
            drop_part(engine.dataset, standing)
    engine.run(cut, parts)
    folders = [f"{SHARDS}/{folder}" for folder in engine.dataset.folders(SHARDS)]
    _drop_others(engine.dataset, cut.name, wanted, folders)


def _drop_others(dataset: Store, stage: str, wanted: Collection[str], folders: Iterable[str]) -> None:
    """Remove the parts of a stage that are not wanted, and files in its folders that no commit of it names.

    A kill between the removal of a record and of its files leaves such files; readers that take a glob would read them.
    """
    known = set()
    for id, commit in read_commits(dataset, stage).items():
        if id in wanted:
            known.update(stamp.name for stamp in commit.files)
        else:
            log.info("dropped stage=%s part=%s reason=no_longer_made", stage, id)
            drop_part(dataset, commit)
    for folder in folders:
        for file in dataset.list(folder):
            if _PART_FILE.fullmatch(file) and f"{folder}/{file}" not in known:
                log.warning("deleted file=%s/%s reason=no_commit_names_it", folder, file)
                dataset.delete(f"{folder}/{file}")


def _inputs(dataset: Store, stage: str, parts: Sequence[str]) -> list[Commit]:
    commits = read_commits(dataset, stage)
    missing = [id for id in parts if id not in commits]
    if missing:
        raise DatasetError(
            f"{dataset.url}: {stage} has not committed {len(missing)} of {len(parts)} parts, {missing[0]} among them. "
            f"Run the {stage} stage first."
        )
    return [commits[id] for id in parts]
