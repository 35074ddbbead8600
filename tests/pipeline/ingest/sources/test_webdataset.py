"""Tars of other makers, as lists."""

import io
import json
import tarfile

import pytest

from pipeline.errors import RecipeError, SourceError


def write(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def test_rows(tmp_path, read):
    path = write(tmp_path / "00000.tar", [
        ("a/1.v2/x.jpg", b"jpeg"), ("a/1.v2/x.txt", b"caf\xe9"),
        ("a/1.v2/x.json", b'{"url": "http://x/1", "score": 2}'),
        ("a/1.v2/x.seg.png", b"mask"), ("README", b"no ending"),
        ("2.JPG", b"jpeg"), ("2.txt", b""), ("3.txt", b"no image"), ("4.png", b"png"), ("4.json", b"{nope"),
        ("5.webp", b"webp"), ("5.json", b"[1]"), ("2.png", b"again"),
    ])
    rows = read(kind="webdataset", path=path)
    assert [row["source_id"] for row in rows] == ["a/1.v2/x", "2", "3", "4", "5", "2"]
    assert rows[0]["url"] == "http://x/1"
    assert [text["text"] for text in rows[0]["texts"]] == ["caf\ufffd"]
    assert json.loads(rows[0]["meta"]) == {"score": 2, "other_members": ["seg.png"], "repaired": ["caption"]}
    assert rows[1]["url"] == "00000.tar#2.jpg"
    assert [row["fault"] and row["fault"][:22] for row in rows] == [
        None, None, "sample: no image, but ", "member: json: not JSON", None, None,
    ]
    assert json.loads(rows[4]["meta"]) == {"json": [1]}


def test_texts_of_other_members(tmp_path, read):
    meta = {"captions": ["one", "two"], "title": 5}
    path = write(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.json", json.dumps(meta).encode()), ("1.de.txt", b"eins")])
    texts = [{"member": "json", "field": "captions"}, {"member": "de.txt", "lang": "de"},
             {"member": "json", "field": "no"}]
    (row,) = read(kind="webdataset", path=path, texts=texts)
    assert [(text["text"], text["lang"]) for text in row["texts"]] == [("one", None), ("two", None), ("eins", "de")]
    (row,) = read(kind="webdataset", path=path, texts=[{"member": "json", "field": "title"}])
    assert row["fault"] == "caption: int, wanted text"
    with pytest.raises(RecipeError, match="is an image"):
        read(kind="webdataset", path=path, texts=[{"member": "jpg"}])


def test_a_tar_that_is_cut_off_gives_what_it_holds(tmp_path, read):
    path = tmp_path / "a.tar"
    write(path, [(f"{i}.{ending}", b"x" * 3000) for i in range(4) for ending in ("jpg", "txt")])
    path.write_bytes(path.read_bytes()[: 5 * 3584 + 1000])
    rows = read(kind="webdataset", path=str(path))
    assert [row["source_id"] for row in rows] == ["0", "1", "2", "a#3"]
    assert rows[-1]["fault"] == "tar: cut off or damaged after 3 samples"


@pytest.mark.parametrize(
    ("members", "words"),
    [([], "holds no member with an ending"),
     ([("1.mp4", b"x"), ("1.txt", b"x")], "no sample with an image; found: mp4, txt")],
)
def test_a_tar_without_images_is_refused(tmp_path, read, members, words):
    with pytest.raises(SourceError, match=words):
        read(kind="webdataset", path=write(tmp_path / "a.tar", members))


def test_what_is_no_tar_is_refused(tmp_path, read):
    (tmp_path / "a.tar").write_bytes(b"not a tar" * 1000)
    with pytest.raises(SourceError, match="no sample with an image"):
        read(kind="webdataset", path=str(tmp_path))
