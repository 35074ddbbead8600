"""Datasets with raw parts made by hand: rows of (key, outcome, sha256, texts, sizes)."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commit import publish
from pipeline.engine import Engine, EngineConfig
from pipeline.record import FETCHED, sample_key
from pipeline.stage import Made
from pipeline.store import Store


@pytest.fixture
def raw_parts(tmp_path):
    """Call with lists of row dicts, one list per part; gives an engine over the dataset and the fetch commits."""

    def write(parts, folder="ds", place="process", workers=2):
        dataset = Store(str(tmp_path / folder))
        commits = {}
        for number, rows in enumerate(parts):
            part = f"{number:05d}"
            local = tmp_path / f"{part}.parquet"
            pq.write_table(pa.Table.from_pylist([full_row(row) for row in rows], FETCHED), local)
            counts = {}
            for row in rows:
                counts[row.get("outcome", "success")] = counts.get(row.get("outcome", "success"), 0) + 1
            made = Made({f"raw/{part}.parquet": local}, len(rows), counts.get("success", 0), counts)
            commits[part] = publish(dataset, "fetch", part, "by hand", made)
        return Engine(dataset, EngineConfig(place=place, workers=workers)), commits

    return write


def full_row(row):
    fetched = row.get("outcome", "success") == "success"
    texts = row.get("texts", ["a caption of words"])
    return {
        "source": "test",
        "source_id": row["id"],
        "medium": "image",
        "key": row.get("key", sample_key("test", row["id"])),
        "status": "success" if fetched else "failed_to_download",
        "outcome": row.get("outcome", "success"),
        "texts": [{"text": text, "kind": "caption", "lang": None} for text in texts],
        "sha256": row.get("sha256", row["id"]) if fetched else None,
        "original_width": row.get("width", 300) if fetched else None,
        "original_height": row.get("height", 200) if fetched else None,
        "bytes": 1000 if fetched else None,
    }
