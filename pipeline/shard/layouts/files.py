"""Files: each medium a file of its own, in one folder per shard, beside a `metadata.jsonl`.

    train/00042/KEY.jpg             media and companions, named as in the tar
    train/00042/metadata.jsonl      one line per sample: file_name, then the sample's JSON

The Hugging Face `imagefolder` loader reads it as it is. A file per sample is slow on every store: for small datasets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pipeline.shard.layouts.layout import Layout, Place, Sample


class Files(Layout):
    """Media as files."""

    name: ClassVar[str] = "files"
    version: ClassVar[int] = 1

    def write(self, samples: Iterator[Sample], place: Place, scratch: Path) -> dict[str, Path]:
        """Write the folder of one shard; its list comes last."""
        folder = f"{place.split}/{place.index:05d}"
        made: dict[str, Path] = {}
        lines = scratch / "metadata.jsonl"
        with lines.open("wb") as listed:
            for sample in samples:
                for name, data in ((sample.row["member"], sample.media), *sample.companions.items()):
                    made[f"{folder}/{name}"] = scratch / name
                    made[f"{folder}/{name}"].write_bytes(data)
                said = {"file_name": sample.row["member"], **json.loads(sample.json)}
                listed.write(json.dumps(said).encode("ascii") + b"\n")
        return {**made, f"{folder}/metadata.jsonl": lines}
