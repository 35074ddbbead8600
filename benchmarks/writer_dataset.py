"""A judged dataset of drawn samples for benchmarks/writer.py: raw tars, fetched rows, verdicts, their commits."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commit import publish
from pipeline.record import FETCHED, VERDICT
from pipeline.stage import Made, scratch_folder
from pipeline.tar import TarWriter

PART_ROWS = 1_000


def judged_dataset(dataset, samples):
    """Write the dataset up to its verdicts, all kept; returns the ids of its parts."""
    parts = [samples[start : start + PART_ROWS] for start in range(0, len(samples), PART_ROWS)]
    for number, part in enumerate(parts):
        write_part(dataset, f"{number:05d}", part)
    return [f"{number:05d}" for number in range(len(parts))]


def write_part(dataset, id, samples):
    with scratch_folder(dataset) as scratch:
        tar_path, raw_path, verdict_path = (scratch / name for name in ("raw.tar", "raw.parquet", "verdict.parquet"))
        rows = []
        with TarWriter(tar_path) as tar:
            for key, media, _, caption in samples:
                placed = tar.add(f"{key}.jpg", media)
                texts = [{"text": caption.decode(), "kind": "caption", "lang": "en"}]
                rows.append(
                    {
                        "key": key, "source": "drawn", "source_id": key, "medium": "image", "texts": texts,
                        "url": f"https://example.org/{key}.jpg", "status": "success", "outcome": "success",
                        "mime": "image/jpeg", "width": 256, "height": 256, "member": placed.name,
                        "tar_offset": placed.data_offset, "tar_bytes": placed.data_size,
                        "sha256": hashlib.sha256(media).hexdigest(), "bytes": len(media),
                    }
                )  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, FETCHED), raw_path)
        verdicts = [{"key": row["key"], "keep": True, "dropped_by": None, "weight": 1.0} for row in rows]
        pq.write_table(pa.Table.from_pylist(verdicts, VERDICT), verdict_path)
        files = {f"raw/{id}.tar": tar_path, f"raw/{id}.parquet": raw_path}
        publish(dataset, "fetch", id, "drawn", Made(files, len(rows), len(rows)))
        publish(dataset, "judge", id, "drawn", Made({f"verdicts/x/{id}.parquet": verdict_path}, len(rows), len(rows)))
