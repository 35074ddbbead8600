"""The `retry` stage: fetches again the rows of a raw part whose failure may pass, and makes the part anew from both.

Takes a committed raw part. Gives the same files with the same rows in the same order, under `retried/` until
`finish_retries` puts them in the place of the old ones: a kill leaves the old part whole, or a patched one whose
last steps are taken by whatever runs next. Media of the other rows are copied out of the old tar. A row that was kept
without a companion keeps its medium and its other companions, and only the missing one is tried again. The new part
keeps the old one's `made_by`, since a fresh fetch by the same settings is what it is; its content makes later stages
stale.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commit import RAW, RETRY, WAITING, Commit, drop_part, read_commit, read_commits, replace_part
from pipeline.errors import DatasetError
from pipeline.ingest.fetch.outcome import Outcome
from pipeline.ingest.fetch.peer import PeerFetch
from pipeline.ingest.fetch.raw import LOST_COMPANIONS, RawWriter
from pipeline.ingest.fetch.schedule import Job
from pipeline.ingest.fetch.stage import Fetch, add_companion
from pipeline.ingest.media.image import Media
from pipeline.ingest.media.sniff import sniff
from pipeline.record import CANDIDATE, FETCHED, RETRYABLE, Status
from pipeline.stage import Made, Part, Workspace
from pipeline.store import Store
from pipeline.tombstones import read_tombstones

log = logging.getLogger(__name__)


class Retry:
    """Patches raw parts by the stage that fetches, whichever engine it has."""

    name: ClassVar[str] = RETRY
    version: ClassVar[int] = 2

    def __init__(self, fetch: Fetch | PeerFetch) -> None:
        self.fetch = fetch
        self.resources = fetch.resources

    def settings(self) -> Any:
        """Those of the fetch."""
        return self.fetch.settings()

    @staticmethod
    def parts(fetched: Mapping[str, Commit]) -> list[Part]:
        """One part per raw part that holds rows to try again."""
        return [Part(id, (("fetch", id),)) for id, commit in fetched.items() if count_retryable({id: commit})]

    def setup(self) -> None:
        """As for the fetch."""
        self.fetch.setup()

    def make(self, part: Part, work: Workspace) -> Made:
        """Patch one raw part."""
        old = read_commit(work.dataset, "fetch", part.id)
        if old is None:
            raise DatasetError(f"{work.dataset.url}: fetch part {part.id} is gone. Run `pairmill fetch` again.")
        with work.dataset.open(old.file(".parquet")) as stream:
            table = pq.read_table(stream)
        if table.column_names != FETCHED.names:
            raise DatasetError(
                f"{work.dataset.url}/{old.file('.parquet')}: has the columns of another version of pairmill. Run "
                "`pairmill fetch` with its recipe, which makes such parts anew; then retry."
            )
        config = self.fetch.config
        candidates = table.select(CANDIDATE.names).cast(CANDIDATE)
        memory_bytes, tombstones = config.memory_mb << 20, read_tombstones(work.dataset)
        writer = RawWriter(part.id, candidates, work.scratch, memory_bytes, config.companions, tombstones)
        try:
            jobs = jobs_to_retry(table, writer)
            self.fetch.download(jobs, table, writer, work.turns)
            with work.dataset.open(old.file(".tar")) as tar:
                _keep_others(table, tar, writer)
            made = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        log.info(
            "retried part=%s rows=%d ok_before=%d ok=%d",
            part.id, sum(len(job.rows) for job in jobs), old.rows_out, made.rows_out,
        )  # fmt: skip
        files = {WAITING + name.removeprefix(RAW): path for name, path in made.files.items()}
        facts = {"replaces": {"made_by": old.made_by, "content": old.content(), "facts": dict(made.facts)}}
        return replace(made, files=files, facts=facts)


def finish_retries(dataset: Store) -> None:
    """Put every patched part in its place; call before anything reads or makes raw parts."""
    for patched in read_commits(dataset, Retry.name).values():
        new, lying_at = _as_raw_part(patched)
        standing = read_commit(dataset, "fetch", patched.part)
        if standing is None or standing.content() == patched.facts["replaces"]["content"]:
            replace_part(dataset, new, lying_at)
        drop_part(dataset, patched)  # where another part stands, it was fetched anew after the patch was made


def count_retryable(fetched: Mapping[str, Commit]) -> dict[str, int]:
    """Status -> rows, and companions of stored rows, that another try may change."""
    counts: Counter[str] = Counter()
    for commit in fetched.values():
        for lost in (commit.counts, commit.facts.get(LOST_COMPANIONS, {})):
            counts.update({status: rows for status, rows in lost.items() if rows and status in RETRYABLE})
    return dict(counts)


def jobs_to_retry(table: pa.Table, writer: RawWriter) -> list[Job]:
    """One job per URL of the rows, and of the companions of stored rows, that another try may change."""
    jobs: dict[str, Job] = {}
    columns = (table[name].to_pylist() for name in ("url", "outcome", "stored_companions"))
    for row, (url, outcome, stored) in enumerate(zip(*columns, strict=True)):
        again = [n for n, item in enumerate(stored or ()) if item["outcome"] in RETRYABLE]
        if outcome in RETRYABLE and url:
            jobs.setdefault(url, Job(url, [])).rows.append(row)
            again = list(range(len(writer.companions[row])))
        for n in again:
            add_companion(jobs, (row, n), writer)
    return list(jobs.values())


def _keep_others(table: pa.Table, tar: IO[bytes], writer: RawWriter) -> None:
    """Give the writer the rows that were not tried again, in order, with their media from the old tar."""
    columns = [item.name for item in FETCHED if item.name not in CANDIDATE.names]
    for batch_start, batch in _batches(table.select([*columns, "url"])):
        for i, row in enumerate(batch):
            if row["outcome"] not in RETRYABLE or not row["url"]:
                writer.put(batch_start + i, _kept(row, tar))
            for n, item in enumerate(row["stored_companions"] or ()):
                if item["outcome"] not in RETRYABLE:
                    writer.put((batch_start + i, n), _kept_companion(item, tar))


def _batches(table: pa.Table) -> Any:
    start = 0
    for batch in table.to_batches(max_chunksize=1024):
        yield start, batch.to_pylist()
        start += batch.num_rows


def _kept(row: Mapping[str, Any], tar: IO[bytes]) -> Outcome:
    if row["outcome"] != Status.SUCCESS:
        return Outcome(Status(row["outcome"]), row["detail"])
    media = Media(
        _read(tar, row["tar_offset"], row["tar_bytes"], row["member"]),
        row["mime"], row["member"].rpartition(".")[2], row["width"], row["height"],
        row["original_width"], row["original_height"], row["orientation"],
    )  # fmt: skip
    facts = (row["sha256"], row["bytes"], row["fetched_at"], row["duration_s"], row["exif"])
    return Outcome(Status.SUCCESS, row["detail"], media, *facts)


def _kept_companion(item: Mapping[str, Any], tar: IO[bytes]) -> Outcome:
    if item["outcome"] != Status.SUCCESS:
        return Outcome(Status(item["outcome"]), item["detail"])
    data, size = _read(tar, item["offset"], item["bytes"], item["member"]), (item["width"], item["height"])
    media = Media(data, sniff(data) or "", item["member"].rpartition(".")[2], *size, *size, 1)
    return Outcome(Status.SUCCESS, item["detail"], media, item["sha256"], item["bytes"])


def _read(tar: IO[bytes], offset: int, size: int, member: str) -> bytes:
    tar.seek(offset)
    data = tar.read(size)
    if len(data) != size:
        raise DatasetError(f"raw tar: ends inside {member}. Run `pairmill verify`, and fetch the part again.")
    return data


def _as_raw_part(patched: Commit) -> tuple[Commit, dict[str, str]]:
    """The record that the patched part will have, and where each of its files lies until then."""
    lying_at = {RAW + stamp.name.removeprefix(WAITING): stamp.name for stamp in patched.files}
    files = tuple(replace(stamp, name=RAW + stamp.name.removeprefix(WAITING)) for stamp in patched.files)
    old = patched.facts["replaces"]
    return replace(patched, stage="fetch", made_by=old["made_by"], files=files, facts=old["facts"]), lying_at
