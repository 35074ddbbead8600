"""Whatever a list holds, reading it gives records or one SourceError, and never another exception."""

import copy
import io
import json
import tarfile
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.ingest.sources import open_source, source_config

ODD = st.sampled_from(
    [None, True, -1, 0.5, 1e400, 10**40, "", "x", "\ud800", "a/../b", [], [[]], [1, 2], {}, {"a": {}}]
)
IMAGE = {"id": 1, "file_name": "1.jpg", "coco_url": "http://x", "width": 4, "height": 4, "license": 2}
NOTE = {"image_id": 1, "caption": "c", "bbox": [1, 2, 3, 4], "category_id": 7, "iscrowd": 0,
        "segmentation": [[1, 1, 3, 1, 3, 3]]}
JSON_LISTS = {
    "coco": ("instances.json", {"images": [IMAGE], "annotations": [NOTE], "categories": [{"id": 7, "name": "cat"}],
                                "licenses": [{"id": 2, "url": "http://l"}]}),
    "karpathy": ("dataset_coco.json", {"images": [{
        "filename": "COCO_1.jpg", "filepath": "val2014", "cocoid": 1, "split": "val", "sentences": [{"raw": "a"}]}]}),
    "visual_genome": ("region_descriptions.json", [{"id": 1, "regions": [
        {"region_id": 1, "phrase": "p", "x": 1, "y": 2, "width": 3, "height": 4}]}]),
    "vqa": ("v2_OpenEnded_mscoco_val2014_questions.json", {"questions": [
        {"image_id": 1, "question": "q", "question_id": 3}]}),
    "wudaomm": ("w.json", [{"name": "a.jpg", "tag": "t", "captions": "c"}]),
    "localized_narratives": ("n.jsonl", {"dataset_id": "mscoco_val2017", "image_id": "1", "annotator_id": 2,
                                         "caption": "c", "traces": [[{"x": 1}]]}),
}
BESIDE = {
    "visual_genome": ("image_data.json", [{"image_id": 1, "url": "http://x/VG_100K/1.jpg"}]),
    "vqa": ("v2_mscoco_val2014_annotations.json", {"annotations": [
        {"question_id": 3, "question_type": "t", "answers": [{"answer": "a"}]}]}),
}


def spots(value, path=()):
    """Where in a JSON value something may be put: every place but the whole."""
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from spots(value[key], (*path, key))


def replaced(value, path, by):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if by is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = by
    return value


def read_all(**source):
    """All records of a list, checked or not: what a check lets pass by chance must be read too."""
    source = open_source(source_config(source))
    with suppress(SourceError):
        source.check()
    try:
        return [row for file in source.files() for batch in source.read(file) for row in batch.to_pylist()]
    except SourceError:
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lists")


@pytest.mark.parametrize("kind", JSON_LISTS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_json_of_odd_values(folder, kind, data):
    (folder / kind).mkdir(exist_ok=True)
    lists = [JSON_LISTS[kind], *([BESIDE[kind]] if kind in BESIDE else [])]
    which = data.draw(st.sampled_from(lists))
    for name, value in lists:
        if (name, value) == which:
            value = replaced(value, data.draw(st.sampled_from(list(spots(value)))), data.draw(st.just(...) | ODD))
        (folder / kind / name).write_text(json.dumps(value))
    rows = read_all(kind=kind, path=str(folder / kind / lists[0][0]), media="/m")
    assert rows is None or all(row["fault"] or row["url"] for row in rows)


HEADERS = {
    "wit": "language\timage_url\tcaption_alt_text_description\n", "webvid": "videoid,contentUrl,name\n",
    "audiocaps": "audiocap_id,youtube_id,start_time,caption\n",
    "clotho": "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n",
    "flickr30k": "1.jpg#0\tc\n", "cc12m": "http://x\tc\n",
}
PIECES = [b"\t", b",", b'"', b"\n", b"\r", b"\0", b"#", b"\xff", b"\xed\xa0\x80", b"http://x", b"a", b" "]


@pytest.mark.parametrize("kind", HEADERS)
@settings(max_examples=20, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40))
def test_lines_of_any_bytes(folder, kind, pieces):
    path = folder / f"{kind}.txt"
    path.write_bytes(HEADERS[kind].encode() + b"".join(pieces))
    media = {"media": "/m"} if kind in ("audiocaps", "clotho", "flickr30k") else {}
    rows = read_all(kind=kind, path=str(path), **media)
    assert rows is not None
    assert all(row["fault"] or row["url"] for row in rows)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_tars_of_any_bytes(folder, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, body in [("a.jpg", b"x"), ("a.txt", b"text"), ("a.json", b"{}"), ("b.png", b"y" * 600)]:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    body = bytearray(out.getvalue()[:5120])
    for _ in range(data.draw(st.integers(1, 20))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.tar").write_bytes(body[: data.draw(st.integers(0, len(body)))])
    assert read_all(kind="webdataset", path=str(folder / "a.tar")) is not None


@pytest.mark.parametrize("kind", ["coyo", "datacomp"])
@pytest.mark.parametrize("values", [[None], [1], [2.5], [b"\xff"], [["x"]], [{"a": 1}], [True], [[[1.0]]], ["x"]])
@pytest.mark.parametrize("column", ["id", "uid", "url", "text", "sha256", "face_bboxes", "original_width"])
def test_columns_of_any_type(folder, kind, column, values):
    table = {"uid": ["ab" * 16], "url": ["http://x"], "text": ["t"], "original_width": [1], "original_height": [1],
             "face_bboxes": [[[0.1, 0.1, 0.2, 0.2]]], column: values}
    pq.write_table(pa.table(table), folder / "a.parquet")
    (row,) = read_all(kind=kind, path=str(folder / "a.parquet"))
    assert row["fault"] or row["url"]
