"""Small judged datasets, built by hand: raw tars, fetched rows and verdicts with their commits."""

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commit import publish
from pipeline.engine import Engine, EngineConfig
from pipeline.record import FETCHED, VERDICT, sample_key
from pipeline.shard.config import ShardConfig
from pipeline.shard.write import write_shards
from pipeline.stage import Made, scratch_folder
from pipeline.store import Store
from pipeline.tar import TarWriter


@dataclass
class Judged:
    """A dataset folder up to its verdicts, and what is known of its kept samples."""

    dataset: Store
    parts: list[str] = field(default_factory=list)
    media: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, dict] = field(default_factory=dict)

    def shard(self, *, workers=1, name="toy", told=None, **config):
        engine = Engine(self.dataset, EngineConfig(place="process", workers=workers))
        return write_shards(engine, ShardConfig(**config), self.parts, name, told=told)

    def files(self, folder="shards"):
        """Name -> bytes of every file under a folder of the (local) dataset."""
        root = self.dataset.local_path(folder)
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def fetched_row(number, rng, **changes):
    key = sample_key("toy", str(number))
    row = {
        "key": key,
        "source": "toy",
        "source_id": str(number),
        "medium": "image",
        "url": f"http://example.org/{number}.jpg",
        "texts": [{"text": f"a scene, number {number} – œ", "kind": "caption", "lang": "en"}],
        "meta": json.dumps({"license": "CC0", "n": number}),
        "status": "success",
        "outcome": "success",
        "mime": "image/jpeg",
        "width": 10 + number,
        "height": 20 + number,
        "original_width": 30 + number,
        "original_height": 40 + number,
        "bytes": 50,
        "orientation": 1,
        "member": f"{key}.jpg",
    }
    return row | changes


def add_part(judged, id, numbers, *, seed=0, change=None, keep=None, mask=None):
    """One part whose row `n` is fetched unless n % 7 == 3, and kept unless n % 5 == 2 (or as `keep(n)` says).

    `mask(n)` gives the bytes of its companion, None for none.
    """
    rng = np.random.default_rng([seed, len(numbers), *numbers])
    rows, verdicts = [], []
    with scratch_folder(judged.dataset) as scratch:
        tar_path, raw_path, verdict_path = scratch / "raw.tar", scratch / "raw.parquet", scratch / "verdict.parquet"
        with TarWriter(tar_path) as tar:
            for number in numbers:
                row = fetched_row(number, rng)
                if change is not None:
                    row |= change(number) or {}
                media = rng.bytes(int(rng.integers(0, 1500)))
                if number % 7 == 3:
                    gone = ("member", "mime", "width", "height", "original_width", "original_height", "bytes")
                    row |= dict.fromkeys((*gone, "orientation"))
                    row |= {"outcome": "http_404", "status": "failed_to_download"}
                else:
                    placed = tar.add(row["member"], media)
                    row |= {"tar_offset": placed.data_offset, "tar_bytes": placed.data_size}
                    row["sha256"] = hashlib.sha256(b"body" + media).hexdigest()
                    if mask is not None and mask(number) is not None:
                        row["stored_companions"] = [add_mask(tar, row["key"], mask(number))]
                kept = row["outcome"] == "success" and (number % 5 != 2 if keep is None else keep(number))
                dropped_by = None if kept else "rule" if row["outcome"] == "success" else "fetch:http_404"
                weight = float(np.float32(0.1 * (1 + number % 3)))
                verdicts.append({"key": row["key"], "keep": kept, "dropped_by": dropped_by, "weight": weight})
                rows.append(row)
                if kept:
                    judged.media[row["key"]] = media
                    judged.rows[row["key"]] = row | {"weight": weight}
        pq.write_table(pa.Table.from_pylist(rows, FETCHED), raw_path)
        pq.write_table(pa.Table.from_pylist(verdicts, VERDICT), verdict_path)
        files = {f"raw/{id}.tar": tar_path, f"raw/{id}.parquet": raw_path}
        stored = sum(row["outcome"] == "success" for row in rows)
        publish(judged.dataset, "fetch", id, f"f{seed}", Made(files, len(rows), stored))
        kept = sum(verdict["keep"] for verdict in verdicts)
        made = Made({f"verdicts/abc/{id}.parquet": verdict_path}, len(rows), kept)
        publish(judged.dataset, "judge", id, f"j{seed}", made)
    if id not in judged.parts:
        judged.parts.append(id)
    return judged


def add_mask(tar, key, data):
    placed = tar.add(f"{key}.segmentation.png", data)
    return {
        "role": "segmentation", "outcome": "success", "member": placed.name, "offset": placed.data_offset,
        "bytes": len(data), "width": 1, "height": 1, "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip


def build(url, *, parts=3, rows=40, **options):
    judged = Judged(Store(str(url)))
    for number in range(parts):
        add_part(judged, f"{number:05d}", range(number * rows, (number + 1) * rows), **options)
    return judged


@pytest.fixture
def judged(tmp_path):
    """Three parts of forty rows, about ninety kept."""
    return build(tmp_path / "dataset")


@pytest.fixture
def make_judged(tmp_path):
    """Builds judged datasets in folders of their own: make_judged("name", parts=.., rows=..)."""
    return lambda name, **options: build(tmp_path / name, **options)


@pytest.fixture
def judged_at():
    """Builds a judged dataset at any URL: judged_at("s3://bucket/folder", parts=.., rows=..)."""
    return build


@pytest.fixture
def extend():
    """`add_part`, for tests that add or change a part."""
    return add_part
