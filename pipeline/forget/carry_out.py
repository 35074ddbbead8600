"""Carries out requests to forget: every part without the samples, in an order that survives a kill.

    tombstones  ->  manifest goes  ->  shards  ->  ...  ->  raw parts, candidates  ->  manifest anew  ->  done

The request is committed first: from then on nothing it names comes back. Parts are rewritten stage by stage, each made
beside the old one and then put in its place. What is stopped is finished by the next `forget`, `curate` or `retry`. No
part becomes stale by it, since all that was made of a part loses the same samples.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.commit import FORGET, FORGETTING, RETRY, Commit, drop_part, read_commit, read_commits
from pipeline.engine import Engine, EngineConfig, Progress, ray_session
from pipeline.errors import AskedWrongly, DatasetError
from pipeline.forget.nodes import ROWS, lonely_nodes
from pipeline.forget.request import FOLDER, Removal, Request, commit_done, commit_request, locate, read_requests
from pipeline.forget.rewrite import Rewrite, settle
from pipeline.forget.select import Selectors, select
from pipeline.ingest.fetch.retry import finish_retries
from pipeline.provenance import counted
from pipeline.shard.cut import Cut
from pipeline.shard.manifest import MANIFEST, Manifest
from pipeline.shard.publish import Publish
from pipeline.shard.survey import Survey
from pipeline.shard.write import told_of_shards
from pipeline.store import Store

log = logging.getLogger(__name__)

_ASIDE = (FORGET, FORGETTING, RETRY, Publish.name, Survey.name)
"""Stages whose records hold no samples, or are made anew."""
_FIRST = (Cut.name, "sort", "order", "judge")
_LAST = ("fetch", "ingest")
_BY_ROW = ("order", "judge", "fetch")
"""Stages whose parts lie row beside row with the raw part of the same id; the scores do too."""


@dataclass(frozen=True)
class Forgotten:
    """What a request came to: `request` is None where nothing was left to do, or nothing was to be done.

    `finished` are earlier requests that had been stopped.
    """

    removal: Removal
    forgotten_before: frozenset[str] = frozenset()
    request: Request | None = None
    finished: tuple[Request, ...] = ()


def forget(
    dataset: Store,
    selectors: Selectors,
    engine_config: EngineConfig,
    *,
    progress: Progress | None = None,
    dry_run: bool = False,
    before: Callable[[Removal], None] = lambda removal: None,
) -> Forgotten:
    """Take the samples that `selectors` name out of a dataset, for good; first what an earlier request left undone.

    Args:
        before: called with what will go, while all of it is still there.
    Raises: AskedWrongly: a key is unknown, or a selector is not what it says; nothing was changed.
        RunFailed: a part could not be rewritten; what is done stays, and running again goes on from there.
    """
    selectors = selectors.checked()
    engine = Engine(dataset, engine_config, progress)
    with ray_session(engine_config):
        finished: tuple[Request, ...] = ()
        if not dry_run:
            engine.clean()
            finish_retries(dataset)
            finished = tuple(finish_forgets(engine))
        selected = select(dataset, selectors, lambda done, total: engine.progress("forget: looking", done, total))
        removal = locate(dataset, selected.keys, lambda done, total: engine.progress("forget: placing", done, total))
        if len(removal.keys):
            before(removal)
        if dry_run or not len(removal.keys):
            return Forgotten(removal, selected.forgotten_before, finished=finished)
        request = _carry_out(engine, commit_request(dataset, selectors, selected, removal))
        return Forgotten(removal, selected.forgotten_before, request, finished)


def finish_forgets(engine: Engine) -> list[Request]:
    """Carry out what was stopped; call before anything reads or makes parts. Returns the requests that it finished."""
    return [_carry_out(engine, request) for request in read_requests(engine.dataset) if not request.is_done]


def _carry_out(engine: Engine, request: Request) -> Request:
    dataset, removal = engine.dataset, request.removal
    settle(dataset)
    manifest = _take_down(dataset, request)
    nodes = lonely_nodes(dataset, removal)
    for stage in _stages(dataset):
        parts = [Rewrite.part(commit) for commit in _touched(read_commits(dataset, stage), stage, removal)]
        engine.run(Rewrite(request.id, nodes), parts)
        settle(dataset)
    for part in removal.parts:
        surveyed = read_commit(dataset, Survey.name, part)
        if surveyed is not None:
            drop_part(dataset, surveyed)
    if manifest is not None:
        _put_up(engine, request, manifest)
    log.info("forgot request=%s samples=%d shards=%d", request.id, len(removal.keys), len(removal.shards))
    return commit_done(request, _shards_after(dataset, request, manifest))


def _stages(dataset: Store) -> list[str]:
    """Stages in the order in which they are rewritten: what says which values rows have comes after what names them."""
    there = [stage for stage in dataset.folders("commits") if stage not in _ASIDE]
    middle = sorted(stage for stage in there if stage not in (*_FIRST, *_LAST))
    middle.sort(key=lambda stage: stage.endswith(ROWS))
    return [stage for stage in (*_FIRST, *middle, *_LAST) if stage in there]


def _touched(commits: Mapping[str, Commit], stage: str, removal: Removal) -> list[Commit]:
    """The parts to look at: those that may hold one of the samples."""
    if stage in _BY_ROW or stage.startswith("score-"):
        parts = set(removal.parts)
        return [commit for commit in commits.values() if commit.part in parts]
    if stage == Cut.name:
        shards = set(removal.shards)
        return [commit for commit in commits.values() if commit.file(".tar").removeprefix("shards/") in shards]
    return list(commits.values())


def _take_down(dataset: Store, request: Request) -> Manifest | None:
    """Remove the manifest, which would speak of other bytes. Returns what it said as the request was made."""
    kept = f"{FOLDER}/{request.id}/manifest.json"
    standing = read_commit(dataset, Publish.name, "all")
    if standing is not None:
        drop_part(dataset, standing)
    dataset.delete(MANIFEST)
    if all(stamp.name != kept for stamp in request.commit.files):
        return None
    return Manifest.from_json(dataset.read_bytes(kept), f"{dataset.url}/{kept}")


def _put_up(engine: Engine, request: Request, before: Manifest) -> None:
    """Publish the manifest of the shards as they are now, as a run that found all in place would."""
    shards = _as_cut(before)
    told = dict(request.commit.facts.get("told") or {})
    fetched = read_commits(engine.dataset, "fetch")
    if fetched:
        with contextlib.suppress(DatasetError):  # a stage is behind the one before it: the next run tells it
            told |= {**counted(engine.dataset), **told_of_shards(engine, list(fetched), shards)}
    publish = Publish(before.name, before.generations, before.sources)
    engine.run(publish, [publish.part(shards, told)])


def _as_cut(manifest: Manifest) -> list[str]:
    """Ids of all shards in the order in which a run names them: the last generation comes after all others."""
    earlier, last = [], []
    for name, split in manifest.splits.items():
        old = sum(generation.shards.get(name, 0) for generation in manifest.generations[:-1])
        earlier += [entry.id for entry in split.shards[:old]]
        last += [entry.id for entry in split.shards[old:]]
    return earlier + last


def _shards_after(dataset: Store, request: Request, before: Manifest | None) -> dict[str, list[str]]:
    """Shard -> sha256 of its tar before and after."""
    if before is None:
        return {}
    now = {stamp.name: stamp.sha256 for commit in read_commits(dataset, Cut.name).values() for stamp in commit.files}
    touched = set(request.removal.shards)
    return {entry.name: [entry.sha256, now[entry.tar]] for entry in before.entries if entry.name in touched}


def check_asked(selectors: Selectors, dataset: Store) -> None:
    """Refuse a request that names nothing, unless an earlier one was stopped. Raises: AskedWrongly."""
    if not selectors and all(request.is_done for request in read_requests(dataset)):
        raise AskedWrongly(
            f"forget {dataset.url}: nothing is named, and no earlier request was stopped. Give --key, --url, --domain, "
            "--sha256, --where or --from."
        )
