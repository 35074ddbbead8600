"""Write a list, read it back as candidates."""

import pyarrow as pa
import pytest

from pipeline.ingest.sources import open_source, source_config
from pipeline.record import CANDIDATE


@pytest.fixture
def read():
    """Rows of a source as dicts: `read(kind=..., path=..., ...)`; checks what holds for all sources."""

    def run(**settings):
        source = open_source(source_config(settings))
        source.check()
        rows = []
        for file in source.files():
            batches = list(source.read(file))
            assert all(batch.schema.equals(CANDIDATE) for batch in batches)
            rows += pa.Table.from_batches(batches, CANDIDATE).to_pylist()
        for row in rows:
            assert row["source"] == settings.get("name", settings["kind"])
            assert (row["fault"] is not None) or row["url"]
        return rows

    return run
