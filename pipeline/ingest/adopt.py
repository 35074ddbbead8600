"""The `adopt` stage: takes media that another tool has stored in tars into raw parts, without the network.

Takes candidate parts of a source that is `adopted` (a folder of img2dataset, or of any webdataset tars), and those
tars. Gives the same raw parts as `fetch`: media keep the bytes that were stored. Of an img2dataset folder `sha256` is
the one it recorded of the body it received (of the stored bytes where it recorded none), its error messages become
statuses, and photos that needed an EXIF orientation stay as they lie, for it applied none. `bytes` is null: nobody
kept a count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from pipeline.commit import Commit
from pipeline.ingest.fetch.dialect import our_outcome
from pipeline.ingest.fetch.outcome import Outcome, outcome_of_fault
from pipeline.ingest.fetch.raw import RawWriter
from pipeline.ingest.fetch.stage import raw_parts, read_candidates
from pipeline.ingest.fetch.takeover import Wanted, take_over
from pipeline.ingest.sources import open_source
from pipeline.ingest.sources.files import find_lists
from pipeline.ingest.sources.source import SourceConfig
from pipeline.record import Status
from pipeline.stage import Made, Part, Resources, Workspace
from pipeline.tombstones import read_tombstones

_MEMORY_BYTES = 256 << 20


class Adopt:
    """Turns shards of another tool into raw parts."""

    name: ClassVar[str] = "fetch"
    """It stands in the place of `fetch`: what comes after does not tell them apart."""
    version: ClassVar[int] = 3

    def __init__(self, source: SourceConfig) -> None:
        self.source = source
        self.resources = Resources(cpus=1)

    def settings(self) -> Any:
        """There are none; the name keeps its parts apart from downloaded ones."""
        return ["adopt"]

    def parts(self, ingested: Mapping[str, Commit]) -> list[Part]:
        """One part per candidate part that `ingest` committed, numbered in order.

        `facts`: candidates = name of the candidate part; tar = path of the tar; stamp = its version.
        """
        source = open_source(self.source)
        tars = find_lists([(source.tar_of(file.path), None) for file in source.files()], (".tar",))
        by_part = {f"{tar.index:05d}": {"tar": tar.path, "stamp": tar.stamp} for tar in tars}
        return [
            Part(part.id, part.inputs, {**part.facts, **by_part[part.inputs[0][1]]}) for part in raw_parts(ingested)
        ]

    def setup(self) -> None:
        """Nothing is needed."""

    def make(self, part: Part, work: Workspace) -> Made:
        """Adopt one candidate part. Raises: SourceError: the tar cannot be read at all."""
        candidates = read_candidates(part, work)
        tombstones = read_tombstones(work.dataset)
        writer = RawWriter(part.id, candidates, work.scratch, _MEMORY_BYTES, tombstones=tombstones)
        try:
            self._adopt(candidates, part.facts["tar"], writer)
            return writer.finish()
        except BaseException:
            writer.abandon()
            raise

    def _adopt(self, candidates: pa.Table, tar: str, writer: RawWriter) -> None:
        by_status = open_source(self.source).adopted == "by_status"
        wanted: dict[str, Wanted] = {}
        columns = [candidates[name].to_pylist() for name in ("source_id", "fault", "meta")]
        for row, (old_key, fault, meta) in enumerate(zip(*columns, strict=True)):
            facts = json.loads(meta) if meta and by_status else {}
            if fault == Status.FORGOTTEN:
                writer.put(row, outcome_of_fault(fault))
            elif old_key in wanted:
                writer.put(row, Outcome(Status.BAD_ROW, f"same key as row {wanted[old_key].rows[0]} of this part"))
            elif facts.get("status") == "success" or (fault is None and not by_status):
                wanted[old_key] = Wanted([row], facts)  # a fault of the row (a lost url, say) does not undo its medium
            elif fault is not None:
                writer.put(row, outcome_of_fault(fault))
            else:
                writer.put(row, Outcome(*our_outcome(facts.get("status"), facts.get("error_message"))))
        for item in take_over(tar, wanted, writer).values():
            writer.put(item.rows[0], Outcome(Status.BAD_ROW, f"{tar.rsplit('/', 1)[-1]} does not hold it"))
