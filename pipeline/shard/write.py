"""From verdicts to a finished set of shards: order, sort, plan, cut, manifest, on whatever engine it is handed.

Takes judged parts, gives `shards/` with its manifest. Every step is a stage, so a killed run resumes. Where shards that
the manifest names change or go, the manifest goes first; where data is appended, it stands until the new one is there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.commit import Commit, drop_part, read_commit, read_commits
from pipeline.engine import Engine
from pipeline.errors import DatasetError
from pipeline.recipe import digest_of
from pipeline.shard.config import ShardConfig
from pipeline.shard.cut import Cut
from pipeline.shard.files import SHARDS
from pipeline.shard.grow import Finished, Taken, next_generation, standing_generations
from pipeline.shard.manifest import MANIFEST, Manifest, read_manifest
from pipeline.shard.order import FETCH, JUDGE, Order, Sort
from pipeline.shard.plan import Plan, PlannedShard, read_plan
from pipeline.shard.publish import Publish
from pipeline.shard.survey import Survey, refusals
from pipeline.shuffle import bucket_bits, shuffle
from pipeline.stage import Part, Stage
from pipeline.store import Store

log = logging.getLogger(__name__)

_SHARD_FILE = re.compile(r"[0-9]{5,}(\.tar|\.parquet|_stats\.json)")
"""Files that a shard has; whatever else lies among the shards is somebody's."""


def write_shards(
    engine: Engine,
    config: ShardConfig,
    judged_parts: Sequence[str],
    name: str,
    *,
    told: Mapping[str, Any] | None = None,
) -> Manifest:
    """Bring the shards of a dataset up to date.

    Args:
        judged_parts: ids of the parts to take, each committed by the stages `fetch` and `judge`.
        name: what the dataset is called in its manifest and card.
        told: what the card says of the stages before: see `card.py`.
    Raises: DatasetError: a part is not committed, or no sample was kept. RecipeError: data cannot be appended so.
    """
    dataset = engine.dataset
    fetched, judged = _inputs(dataset, FETCH, judged_parts), _inputs(dataset, JUDGE, judged_parts)
    raw = digest_of([commit.content() for commit in fetched])
    kept = sum(commit.as_made().rows_out for commit in judged)
    *before, finished = standing_generations(dataset, config)
    work = _Work(config, judged_parts, kept, finished)
    for earlier in before:
        again = _Work(config, judged_parts, kept, earlier)
        earlier.check(dataset)
        if again.stands(engine, Cut(raw, name, len(earlier.generations))):
            work = again  # the last generation is the answer to this input: there is nothing to append
    work.finished.check(dataset)
    shards = work.plan(engine)
    if not shards and not work.finished.shards:
        raise DatasetError(
            f"{dataset.url}: no sample of {len(judged_parts)} parts was kept, so there is nothing to shard. "
            "Look at the funnel for the rule that drops them, and loosen it."
        )
    cut = Cut(raw, name, len(work.finished.generations))
    make_shards(engine, cut, [cut.part(shard) for shard in shards], work.finished.shards)
    work.tidy(dataset)
    generations = work.finished.generations
    if shards:
        generations += (next_generation(config, [shard.split for shard in shards]),)
    publish = Publish(name, generations)
    ids = [*work.finished.shards, *(shard.id for shard in shards)]
    engine.run(publish, [publish.part(ids, {**(told or {}), **told_of_shards(engine, judged_parts, ids)})])
    manifest = read_manifest(dataset)
    log.info("sharded name=%s shards=%d fingerprint=%s", name, len(shards), manifest.fingerprint())
    return manifest


@dataclass(frozen=True)
class _Work:
    """What a run does after the generations that are finished: its stages, and their parts."""

    config: ShardConfig
    parts: Sequence[str]
    kept: int
    finished: Finished

    @property
    def order(self) -> Order:
        return Order(bucket_bits(self.kept, self.config.bucket_rows), self.config)

    @property
    def taken(self) -> Taken:
        return Taken(self.order.bits, self.config.seed)

    @property
    def sort(self) -> Sort:
        return Sort(self.order, self.parts, self.taken, self.finished.shards)

    def stands(self, engine: Engine, cut: Cut) -> bool:
        """Whether all this was done before, with these settings; shards may be missing, but not be others."""
        order, taken, sort, plan = self.order, self.taken, self.sort, Plan(self.config, self.finished.first)
        steps: list[tuple[Stage, list[Part]]] = [
            (order, [order.part(id) for id in self.parts]),
            (taken, [taken.part(id) for id in self.finished.shards]),
            (sort, sort.buckets()),
            (plan, [plan.part([bucket.id for bucket in sort.buckets()])]),
        ]
        for stage, parts in steps:
            if engine.plan(stage, parts)[1]:
                return False
        planned = read_commit(engine.dataset, plan.name, "all")
        shards = [] if planned is None else read_plan(engine.dataset, planned)
        standing = read_commits(engine.dataset, cut.name)
        return not any(part.id in standing for part, _ in engine.plan(cut, [cut.part(shard) for shard in shards])[1])

    def plan(self, engine: Engine) -> list[PlannedShard]:
        """The shards to cut."""
        order, taken, sort = self.order, self.taken, self.sort
        engine.prune(taken.name, engine.run(taken, [taken.part(id) for id in self.finished.shards]))
        buckets = shuffle(engine, order, [order.part(id) for id in self.parts], sort)
        plan = Plan(self.config, self.finished.first)
        return read_plan(engine.dataset, engine.run(plan, [plan.part(list(buckets))])["all"])

    def tidy(self, dataset: Store) -> None:
        """Remove what a kill left among the intermediate files."""
        _drop_others(dataset, Order.name, set(self.parts), [f"shuffle/{Order.name}/scatter"])
        _drop_others(dataset, Taken.name, set(self.finished.shards), [f"shuffle/{Taken.name}/scatter"])
        _drop_others(dataset, Sort.name, {part.id for part in self.sort.buckets()}, [f"shuffle/{Sort.name}/gather"])


def make_shards(engine: Engine, stage: Stage, parts: Sequence[Part], finished: Sequence[str] = ()) -> None:
    """Make shards, and remove those that are neither made nor `finished`.

    Where there are no finished ones, a manifest that would speak of other bytes goes first.
    """
    dataset = engine.dataset
    wanted = {part.id for part in parts} | set(finished)
    _, pending = engine.plan(stage, parts)
    if not finished and (pending or read_commits(dataset, stage.name).keys() - wanted):
        standing = read_commit(dataset, Publish.name, "all")
        if standing is not None:
            drop_part(dataset, standing)
        dataset.delete(MANIFEST)  # a kill may have left it without its record
    engine.run(stage, parts)
    folders = [f"{SHARDS}/{folder}" for folder in dataset.folders(SHARDS)]
    _drop_others(dataset, stage.name, wanted, folders)


def told_of_shards(engine: Engine, parts: Sequence[str], shards: Sequence[str]) -> dict[str, Any]:
    """For the card: what was refused, and what stays although it would not be kept today."""
    survey = Survey()
    surveyed = engine.run(survey, [survey.part(id) for id in parts])
    engine.prune(survey.name, surveyed)
    sorts, cuts = read_commits(engine.dataset, Sort.name).values(), read_commits(engine.dataset, Cut.name)
    kept = sum(commit.rows_out + commit.counts["in_earlier_shards"] for commit in sorts)
    held_over = sum(cuts[id].rows_out for id in shards) - kept
    return {"refused": refusals(surveyed.values()), "held_over": held_over}


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
            is_ours = stage != Cut.name or _SHARD_FILE.fullmatch(file)
            if is_ours and f"{folder}/{file}" not in known:
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
