"""Lists in a bucket, and a dataset in a bucket."""

import gzip
import io

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from pipeline.engine import Engine, EngineConfig
from pipeline.errors import SourceError
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.media.image import ImageConfig
from pipeline.ingest.read import Ingest, IngestConfig
from pipeline.ingest.sources import open_source, source_config
from pipeline.store import Store


def put(url, data):
    with fsspec.open(url, "wb") as stream:
        stream.write(data)


def parquet(**columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def test_lists_in_a_bucket(s3_bucket):
    put(f"{s3_bucket}/lists/a.tsv", b"a\thttp://x/1\n")
    put(f"{s3_bucket}/lists/b.tsv.gz", gzip.compress(b"b\thttp://x/2\nc\thttp://x/3\n"))
    put(f"{s3_bucket}/lists/part-0.parquet", parquet(URL=["http://x/4"], TEXT=["d"]))
    for path in (f"{s3_bucket}/lists", f"{s3_bucket}/lists/", f"{s3_bucket}/li*/*.tsv*", f"{s3_bucket}/**/*.tsv*"):
        source = open_source(source_config({"kind": "cc3m", "path": path}))
        source.check()
        assert [(file.path, file.label) for file in source.files()] == [
            (f"{s3_bucket}/lists/a.tsv", "a"), (f"{s3_bucket}/lists/b.tsv.gz", "b"),
        ]
        rows = [row for file in source.files() for batch in source.read(file) for row in batch.to_pylist()]
        assert [row["url"] for row in rows] == ["http://x/1", "http://x/2", "http://x/3"]
    laion = open_source(source_config({"kind": "laion", "path": f"{s3_bucket}/lists/part-0.parquet"}))
    laion.check()
    assert [batch.num_rows for batch in laion.read(laion.files()[0])] == [1]
    with pytest.raises(SourceError, match=r"Did you mean 'a\.tsv'"):
        open_source(source_config({"kind": "cc3m", "path": f"{s3_bucket}/lists/aa.tsv"})).files()
    for path in (f"{s3_bucket}/**.tsv", "s3://no-such-bucket/a.tsv", "s3://no-such-bucket", "odd://x/y.tsv"):
        with pytest.raises(SourceError):
            open_source(source_config({"kind": "cc3m", "path": path})).files()


def test_a_bucket_without_credentials(s3_bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(SourceError, match="cannot look for lists there"):
        open_source(source_config({"kind": "cc3m", "path": f"{s3_bucket}/a.tsv"})).files()


def test_from_a_list_to_raw_parts_in_a_bucket(s3_bucket, web, draw, open_part):
    web.pages["/a.jpg"] = draw.encoded(draw.photo())
    put(f"{s3_bucket}/list.tsv", f"a\t{web.url('/a.jpg')}\nb\t{web.url('/b.jpg')}\n".encode())
    dataset = Store(f"{s3_bucket}/dataset")
    engine = Engine(dataset, EngineConfig(place="process"))
    ingest = Ingest(source_config({"kind": "cc3m", "path": f"{s3_bucket}/list.tsv"}), IngestConfig())
    fetch = Fetch(FetchConfig(ports=(web.port,), allow_private=("127.0.0.1",)), ImageConfig())
    commits = engine.run(fetch, fetch.parts(engine.run(ingest, ingest.parts())))
    assert open_part(dataset, commits["00000"]).statuses == ["success", "http_404"]
