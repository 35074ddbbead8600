"""The `fetch` stage: downloads the media of one candidate part, and writes them as one raw part.

Takes `candidates/part-*.parquet` (CANDIDATE). Gives `raw/00042.tar` (per sample `{key}.jpg`, its companions,
`.json`, `.txt`, in row order), `raw/00042.parquet` (FETCHED: every row, failures included) and `raw/00042_stats.json`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commit import Commit
from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.blocklist import NO_BLOCKS, BlockList, load_block_list
from pipeline.ingest.fetch.client import Client, tls_context
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.decoders import Decoders
from pipeline.ingest.fetch.loop import run_in_loop
from pipeline.ingest.fetch.manners import Manners
from pipeline.ingest.fetch.names import looked_up_ahead
from pipeline.ingest.fetch.outcome import COMPANION, Outcome, Promise, Treatment, outcome_of_fault
from pipeline.ingest.fetch.raw import RawWriter
from pipeline.ingest.fetch.schedule import Job, Schedule
from pipeline.ingest.media.image import ImageConfig
from pipeline.ingest.media.probe import MediaConfig, load_av
from pipeline.ingest.media.retouch import face_boxes
from pipeline.record import CANDIDATE, ROLE, Status
from pipeline.stage import Made, Part, Resources, Workspace
from pipeline.tombstones import read_tombstones
from pipeline.turns import Turns

log = logging.getLogger(__name__)

_MEDIA = MediaConfig()


class Fetch:
    """Fetches candidate parts into raw parts."""

    name: ClassVar[str] = "fetch"
    version: ClassVar[int] = 4

    def __init__(self, config: FetchConfig, image: ImageConfig, media: MediaConfig = _MEDIA) -> None:
        self.config = config
        self.image = image.settled()
        self.media = media
        has_pace = config.robots == "respect" or config.per_host_rate_hz is not None
        self.resources = Resources(cpus=config.cpus, turns="shared" if has_pace else "own")

    def settings(self) -> Any:
        """All settings but those of speed."""
        tables = [self.image.model_dump(mode="json"), self.media.model_dump(mode="json")]
        return [self.config.that_decides_output(), self._block_content, *tables]

    @functools.cached_property
    def _block_content(self) -> str | None:
        return self.config.block.content()

    @staticmethod
    def parts(ingested: Mapping[str, Commit]) -> list[Part]:
        """One part per candidate part that `ingest` committed, numbered in order."""
        return list(raw_parts(ingested))

    def setup(self) -> None:
        """Load the TLS authorities and the block lists, and keep OpenCV to the thread it is called in."""
        load_block_list(self.config.block, self._block_content)
        tls_context(self.config.tls, self.config.ca_file)
        cv2.setNumThreads(1)

    def make(self, part: Part, work: Workspace) -> Made:
        """Fetch one candidate part; whatever the web does, every row ends in one status."""
        candidates = read_candidates(part, work)
        memory_bytes = self.config.memory_mb << 20
        tombstones = read_tombstones(work.dataset)
        writer = RawWriter(part.id, candidates, work.scratch, memory_bytes, self.config.companions, tombstones)
        try:
            jobs = plan_jobs(candidates, writer, load_block_list(self.config.block, self._block_content))
            self.download(jobs, candidates, writer, work.turns)
            made = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        log.info(
            "fetched part=%s rows=%d ok=%d %s",
            part.id,
            made.rows_in,
            made.rows_out,
            " ".join(f"{status}={rows}" for status, rows in made.counts.items() if status != Status.SUCCESS),
        )
        return made

    def download(self, jobs: list[Job], promised: pa.Table, writer: RawWriter, turns: Turns) -> None:
        """Put the outcome of every row of `jobs`; `promised` are the candidates of the part.

        Raises: StageError, OSError: this machine is in trouble; the web never is.
        """
        try:
            run_in_loop(self._fetch(jobs, promised, writer, turns))
        except ExceptionGroup as group:  # of the workers' task group; the first is what went wrong
            raise group.exceptions[0] from group

    async def _fetch(self, jobs: list[Job], promised: pa.Table, writer: RawWriter, turns: Turns) -> None:
        loop = asyncio.get_running_loop()
        block = load_block_list(self.config.block, self._block_content)
        treatment = Treatment(self.image, self.media, self.config.max_bytes, block)
        mediums = promised["medium"].to_pylist()
        config = self._with_room_for(set(mediums))
        promises = self._promises(promised)
        # A lookup that was given up still holds its thread until the resolver's own timeout: keep some to spare.
        loop.set_default_executor(ThreadPoolExecutor(min(4 * self.config.concurrency, 256), "dns"))
        num_threads = max(1, math.ceil(self.config.cpus))
        async with Decoders(writer, treatment, num_threads, self.config.concurrency) as decoders:

            failed: set[int] = set()

            def is_wanted(job: Job) -> bool:
                return bool(job.rows) or any(row not in failed for row, _ in job.companions)

            async def settle(job: Job, answer: Answer) -> None:
                if answer.status != Status.SUCCESS:
                    failed.update(job.rows)
                    decoders.put([*job.rows, *job.companions], Outcome(answer.status, answer.detail))
                    return
                if job.companions:
                    promise = Promise(COMPANION, (None,) * len(job.companions))
                    await decoders.treat(job.companions, promise, answer.body)
                for rows, promise in promises(job.rows):
                    await decoders.treat(rows, promise, answer.body)

            urls = (job.url for job in jobs)
            async with Client(config) as client, looked_up_ahead(client.names, urls, block):
                ask = Manners(config, client, block, turns).ask
                await Schedule(config, ask, settle, is_wanted).run(jobs)

    def _promises(self, promised: pa.Table) -> Callable[[list[int]], list[tuple[list[int], Promise]]]:
        """What the list says of the rows of one URL: one promise per medium, with the boxes of all rows to blur."""
        mediums, hashes = promised["medium"].to_pylist(), promised["hash"].to_pylist()
        regions = promised["regions"].to_pylist() if self.image.blur == "regions" else [None] * len(mediums)

        def of(rows: list[int]) -> list[tuple[list[int], Promise]]:
            found = []
            for medium in sorted({mediums[row] for row in rows}):
                same = [row for row in rows if mediums[row] == medium]
                boxes = tuple(dict.fromkeys(box for row in same for box in face_boxes(regions[row])))
                found.append((same, Promise(medium, tuple(hashes[row] for row in same), boxes)))
            return found

        return of

    def _with_room_for(self, mediums: set[str]) -> FetchConfig:
        """The settings for a part of these mediums. Raises: MissingExtra: one needs what is not installed."""
        if mediums <= {"image"}:
            return self.config
        load_av()
        most = self.media.max_bytes if "image" not in mediums else max(self.media.max_bytes, self.config.max_bytes)
        return self.config.model_copy(update={"max_bytes": most})


def raw_parts(ingested: Mapping[str, Commit]) -> Iterator[Part]:
    """The raw parts that follow from the commits of `ingest`: ids 00000, 00001, ... over all candidate parts.

    `facts`: candidates = name of the candidate part.
    """
    number = 0
    for file_part in sorted(ingested):
        for item in ingested[file_part].facts["parts"]:
            yield Part(f"{number:05d}", (("ingest", file_part),), {"candidates": item["name"]})
            number += 1


def read_candidates(part: Part, work: Workspace) -> pa.Table:
    """The candidates that a raw part is made of, without what was forgotten since they were listed."""
    with work.dataset.open(part.facts["candidates"]) as stream:
        return read_tombstones(work.dataset).without(pq.read_table(stream).cast(CANDIDATE))


def plan_jobs(candidates: pa.Table, writer: RawWriter, block: BlockList = NO_BLOCKS) -> list[Job]:
    """One job per URL; rows that cannot be fetched are settled at once.

    A row with a fault, and the second row with the same key, get the status `bad_row`: two samples of one key
    would be one sample to every reader. A row that promises a blocked hash is not fetched either.
    """
    jobs: dict[str, Job] = {}
    first: dict[str, int] = {}
    columns = [candidates[name].to_pylist() for name in ("key", "url", "fault", "hash")]
    for row, (key, url, fault, promised) in enumerate(zip(*columns, strict=True)):
        problem = fault if fault is not None or url else "url: none"
        if problem is None and key in first:
            problem = f"same key as row {first[key]} of this part"
        if problem is not None:
            writer.put(row, outcome_of_fault(problem))
            continue
        first[key] = row
        blocked = None if promised is None else block.of_hashes([promised])
        if blocked is not None:
            writer.put(row, Outcome(Status.BLOCKLISTED, blocked))
            continue
        jobs.setdefault(url, Job(url, [])).rows.append(row)
        for n in range(len(writer.companions[row])):
            add_companion(jobs, (row, n), writer)
    return list(jobs.values())


def add_companion(jobs: dict[str, Job], place: tuple[int, int], writer: RawWriter) -> None:
    """Have a companion fetched, once for all that share it; one that cannot be is settled at once."""
    row, n = place
    url, role = writer.companions[row][n]["url"], writer.companions[row][n]["role"]
    if not url or ROLE.fullmatch(role or "") is None:
        problem = "url: none" if not url else f"role {role!r}: wanted lower-case letters, digits and '_', at most 32"
        writer.put(place, Outcome(Status.BAD_ROW, problem))
        return
    jobs.setdefault(url, Job(url, [])).companions.append(place)
