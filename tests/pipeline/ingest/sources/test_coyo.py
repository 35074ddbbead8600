"""COYO-700M in its published columns."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError


def test_rows(tmp_path, read):
    table = {
        "id": [4896263451343, 841814333321, None], "url": ["http://x/1", "http://x/2", None],
        "text": ["one", "two", "three"], "width": [100, 200, 300], "height": [10, 20, 30],
        "image_phash": ["f0f0", "0f0f", ""], "text_length": [3, 3, 5], "word_count": [1, 1, 1],
        "num_tokens_bert": [1, 1, 1], "num_tokens_gpt": [1, 1, 1], "num_faces": [0, 2, 1],
        "clip_similarity_vitb32": [0.2, 0.3, 0.4], "clip_similarity_vitl14": [0.2, 0.3, 0.4],
        "nsfw_score_opennsfw2": [0.1, 0.0, 0.0], "nsfw_score_gantman": [0.1, 0.0, 0.0],
        "watermark_score": [0.5, 0.1, 0.1], "aesthetic_score_laion_v2": [5.0, 4.0, 4.0],
    }
    pq.write_table(pa.table(table), tmp_path / "part-00000.parquet")
    rows = read(kind="coyo", path=str(tmp_path))
    assert [row["source_id"] for row in rows] == ["4896263451343", "841814333321", "part-00000#2"]
    assert rows[0]["texts"] == [{"text": "one", "kind": "alt", "lang": None}]
    assert set(json.loads(rows[1]["meta"])) == set(table) - {"id", "url", "text"}
    assert rows[2]["fault"] == "url: none"


def test_a_missing_column_is_named(tmp_path, read):
    pq.write_table(pa.table({"url": ["x"], "txt": ["y"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"has no column 'text'; found: url, txt. Did you mean 'txt'"):
        read(kind="coyo", path=str(tmp_path))
