"""The `fetch` stage with img2dataset as its engine: the same candidates, the same record, another tool between them.

Takes candidate parts. Gives raw parts, as `Fetch` does. For each part img2dataset runs in processes of its own over a
list of the part's URLs, and writes a tar and a parquet file into the scratch folder; from there they are taken over as
an adopted folder is. Each URL is asked for once, rows with faults never. Its words for failures become our outcomes.

What img2dataset does not know stays unknown: `bytes`, and `sha256` of a body whose row promises an md5 (there it is of
the stored medium). Photos stay as they lie where EXIF says to turn them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from yarl import URL

from pipeline.commit import Commit
from pipeline.errors import RecipeError, StageError
from pipeline.ingest.fetch import peer_run
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.dialect import SUCCESS, our_outcome
from pipeline.ingest.fetch.guard import Guard
from pipeline.ingest.fetch.outcome import Outcome
from pipeline.ingest.fetch.peer_options import NO_COMPANIONS, peer_image_options, peer_options
from pipeline.ingest.fetch.raw import RawWriter
from pipeline.ingest.fetch.schedule import Job
from pipeline.ingest.fetch.stage import plan_jobs, raw_parts, read_candidates
from pipeline.ingest.fetch.takeover import Wanted, take_over
from pipeline.ingest.media.image import ImageConfig
from pipeline.record import Status
from pipeline.stage import Made, Part, Resources, Workspace
from pipeline.tombstones import read_tombstones
from pipeline.turns import Turns

log = logging.getLogger(__name__)

_START_S = 120.0
"""Allowed for its start and end, on top of what the network may take."""
_QUIET = {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
"""Without the first, a library of img2dataset asks a package index for its newest version at each start."""
_TAIL_LINES = 8


@dataclass(frozen=True, slots=True)
class _Ask:
    """One URL to ask for, and the rows that want it."""

    url: str
    promised: str | None
    rows: list[int]


class PeerFetch:
    """Fetches candidate parts into raw parts by img2dataset."""

    name: ClassVar[str] = "fetch"
    """It stands in the place of `Fetch`: what comes after does not tell them apart."""
    version: ClassVar[int] = 2

    def __init__(self, config: FetchConfig, image: ImageConfig) -> None:
        self.config = config
        self.image = image
        self.resources = Resources(cpus=config.cpus)

    def settings(self) -> Any:
        """All settings but those of speed, and the version of img2dataset."""
        image = peer_image_options(self.image)
        return [self.config.that_decides_output(), image, metadata.version("img2dataset")]

    @staticmethod
    def parts(ingested: Mapping[str, Commit]) -> list[Part]:
        """One part per candidate part that `ingest` committed, numbered in order."""
        return list(raw_parts(ingested))

    def setup(self) -> None:
        """Nothing is needed here; img2dataset is loaded by its own processes."""

    def make(self, part: Part, work: Workspace) -> Made:
        """Fetch one candidate part. Raises: StageError: img2dataset itself failed; the web never does that."""
        candidates = read_candidates(part, work)
        if self.config.companions != "ignore" and candidates["companions"].null_count < len(candidates):
            raise RecipeError(f"fetch.engine = 'img2dataset' cannot do what the list asks for: {NO_COMPANIONS}.")
        tombstones = read_tombstones(work.dataset)
        writer = RawWriter(part.id, candidates, work.scratch, self.config.memory_mb << 20, tombstones=tombstones)
        try:
            self.download(plan_jobs(candidates, writer), candidates, writer, work.turns)
            made = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        log.info("fetched part=%s rows=%d ok=%d engine=img2dataset", part.id, made.rows_in, made.rows_out)
        return made

    def download(self, jobs: list[Job], promised: pa.Table, writer: RawWriter, turns: Turns) -> None:
        """Put the outcome of every row of `jobs`; `promised` are the candidates of the part.

        `turns` are not asked for: img2dataset has no pace per host.
        """
        hashes = promised["hash"].to_pylist()
        asks: dict[str | None, list[_Ask]] = defaultdict(list)
        for job in jobs:
            refusal = self._refusal(job.url)
            if refusal is not None:
                for row in job.rows:
                    writer.put(row, refusal)
                continue
            by_hash: dict[str | None, list[int]] = defaultdict(list)
            for row in job.rows:
                by_hash[hashes[row]].append(row)
            for item, rows in by_hash.items():
                kind, _, value = (item or "").partition(":")
                asks[kind or None].append(_Ask(job.url, value or None, rows))
        for kind, of_kind in asks.items():  # it verifies, and records, one kind of hash in a run
            folder = self._run(kind, of_kind, writer)
            self._take(kind, of_kind, folder, writer)

    def _refusal(self, url: str) -> Outcome | None:
        """What is refused before img2dataset sees it: other schemes, which it would open, and ports."""
        guard = Guard(self.config.ports, self.config.allow_private)
        try:
            refusal = guard.refusal(URL(url))
        except ValueError as error:
            return Outcome(Status.INVALID_URL, str(error)[:120])
        return None if refusal is None else Outcome(*refusal)

    def _run(self, kind: str | None, asks: list[_Ask], writer: RawWriter) -> Path:
        """Let img2dataset fetch a list; returns the folder it wrote. Raises: StageError: it did not."""
        folder = writer.scratch / f"img2dataset-{kind or 'any'}"
        listed, said = folder.with_suffix(".parquet"), folder.with_suffix(".log")
        columns = {"url": pa.array([ask.url for ask in asks], pa.string())}
        options = peer_options(self.config, self.image)
        options |= {"url_list": str(listed), "output_folder": str(folder), "number_sample_per_shard": len(asks)}
        options |= {"compute_hash": kind or "sha256"}
        if kind is not None:
            columns["promised"] = pa.array([ask.promised for ask in asks], pa.string())
            options["verify_hash"] = ["promised", kind]
        pq.write_table(pa.table(columns), listed)
        waves = math.ceil(len(asks) / self.config.concurrency)
        limit_s = _START_S + 2 * waves * (self.config.retries + 1) * self.config.timeout_s
        code = _run_alone(options, said, limit_s)
        if code != 0 or not (folder / "00000_stats.json").exists():
            tail = " | ".join(said.read_text(errors="replace").strip().splitlines()[-_TAIL_LINES:])
            ended = f"did not end within {limit_s:.0f} s" if code is None else f"ended with code {code}"
            raise StageError(
                f"fetch part {writer.part}: img2dataset {ended} and wrote no shard; wanted one of {len(asks)} rows. "
                f"It said: {tail[-1500:]}. Run again, or take fetch.engine = 'pairmill'."
            )
        return folder

    def _take(self, kind: str | None, asks: list[_Ask], folder: Path, writer: RawWriter) -> None:
        """Put the outcomes of what img2dataset wrote; its key is the place of the URL in the list."""
        recorded = {int(row["key"]): row for row in pq.read_table(folder / "00000.parquet").to_pylist()}
        wanted: dict[str, Wanted] = {}
        for place, ask in enumerate(asks):
            facts = recorded.get(place)
            if facts is None:
                outcome = Outcome(Status.PROTOCOL_ERROR, "img2dataset recorded nothing of it")
            elif facts["status"] == SUCCESS:
                wanted[facts["key"]] = Wanted(ask.rows, facts)
                continue
            else:
                outcome = Outcome(*our_outcome(facts["status"], facts["error_message"]))
            for row in ask.rows:
                writer.put(row, outcome)
        missing = take_over(str(folder / "00000.tar"), wanted, writer, exif=self.image.exif == "keep")
        for item in missing.values():
            for row in item.rows:
                writer.put(row, Outcome(Status.PROTOCOL_ERROR, "img2dataset did not store it"))


def _run_alone(options: dict[str, Any], said: Path, limit_s: float) -> int | None:
    """Run img2dataset in a process group of its own, which ends with this process; its exit code, None if too late."""
    command = [sys.executable, "-P", peer_run.__file__, json.dumps(options)]
    with said.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **_QUIET},
        )  # fmt: skip
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
