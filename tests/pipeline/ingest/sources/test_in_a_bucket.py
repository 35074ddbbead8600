"""Lists of several files, and tars, in a bucket."""

import io
import json
import tarfile

import fsspec
import pytest

from pipeline.engine import Engine, EngineConfig
from pipeline.errors import SourceError
from pipeline.ingest.adopt import Adopt
from pipeline.ingest.read import Ingest, IngestConfig
from pipeline.ingest.sources import open_source, source_config
from pipeline.store import Store


def put(url, data):
    with fsspec.open(url, "wb") as stream:
        stream.write(data if isinstance(data, bytes) else json.dumps(data).encode())


def test_files_beside_a_list(s3_bucket, read):
    region = {"region_id": 1, "phrase": "p", "x": 1, "y": 2, "width": 3, "height": 4}
    put(f"{s3_bucket}/vg/region_descriptions.json", [{"id": 1, "regions": [region]}])
    with pytest.raises(SourceError, match=r"no image_data\.json beside it"):
        read(kind="visual_genome", path=f"{s3_bucket}/vg")
    put(f"{s3_bucket}/vg/image_data.json", [{"image_id": 1, "url": "http://x/VG_100K/1.jpg"}])
    (row,) = read(kind="visual_genome", path=f"{s3_bucket}/vg")
    assert row["url"] == "http://x/VG_100K/1.jpg"

    questions = f"{s3_bucket}/v2_OpenEnded_mscoco_val2014_questions.json"
    put(questions, {"questions": [{"image_id": 1, "question": "q", "question_id": 3}]})
    with pytest.raises(SourceError, match=r"no v2_mscoco_val2014_annotations\.json beside it"):
        read(kind="vqa", path=questions)
    put(f"{s3_bucket}/v2_mscoco_val2014_annotations.json",
        {"annotations": [{"question_id": 3, "answers": [{"answer": "a"}]}]})
    source = open_source(source_config({"kind": "vqa", "path": questions}))
    assert "+" in source.files()[0].stamp
    assert [text["text"] for text in read(kind="vqa", path=questions)[0]["texts"]] == ["q", "a"]


def test_a_subset_file_is_wanted_here(s3_bucket, read):
    with pytest.raises(SourceError, match="copy it to a folder that all machines see"):
        read(kind="datacomp", path=f"{s3_bucket}/x.parquet", subset=f"{s3_bucket}/subset.npy")


def test_tars_are_adopted_from_there(s3_bucket, tmp_path, draw):
    out = io.BytesIO()
    body = draw.encoded(draw.photo())
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (("1.jpg", body), ("1.txt", b"one"), ("2.jpg", body)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    put(f"{s3_bucket}/tars/0.tar", out.getvalue())
    config = source_config({"kind": "webdataset", "path": f"{s3_bucket}/tars"})
    open_source(config).check()
    engine = Engine(Store(str(tmp_path / "dataset")), EngineConfig(place="process"))
    ingest, adopt = Ingest(config, IngestConfig()), Adopt(config)
    (commit,) = engine.run(adopt, adopt.parts(engine.run(ingest, ingest.parts()))).values()
    assert dict(commit.counts) == {"success": 2}
