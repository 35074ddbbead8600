"""WIT in its published form: gzipped tsv of 17 columns with quoting."""

import csv
import gzip
import io
import json

import pytest

from pipeline.errors import SourceError

COLUMNS = (
    "language", "page_url", "image_url", "page_title", "section_title", "hierarchical_section_title",
    "caption_reference_description", "caption_attribution_description", "caption_alt_text_description", "mime_type",
    "original_height", "original_width", "is_main_image", "attribution_passes_lang_id", "page_changed_recently",
    "context_page_description", "context_section_description",
)


def row(**values):
    return {**dict.fromkeys(COLUMNS, ""), "language": "de", "image_url": "http://x/1.jpg", **values}


def write(tmp_path, rows, columns=COLUMNS, extra=""):
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    path = tmp_path / "wit_v1.train.all-00000-of-00010.tsv.gz"
    path.write_bytes(gzip.compress((out.getvalue() + extra).encode()))
    return str(path)


def test_rows(tmp_path, read):
    rows = read(kind="wit", path=write(tmp_path, [
        row(caption_reference_description='Ein "Haus"\tam See', caption_attribution_description="English: A house",
            caption_alt_text_description="Haus", attribution_passes_lang_id="false", page_title="Haus",
            original_height="480", context_page_description="Zeile 1\nZeile 2"),
        row(caption_attribution_description="Deutsch: Haus", attribution_passes_lang_id="true"),
        row(image_url=""),
    ], extra="de\tonly three\tfields\n"))
    assert rows[0]["texts"] == [
        {"text": 'Ein "Haus"\tam See', "kind": "reference", "lang": "de"},
        {"text": "English: A house", "kind": "attribution", "lang": None},
        {"text": "Haus", "kind": "alt", "lang": "de"},
    ]
    assert json.loads(rows[0]["meta"]) == {
        "page_title": "Haus", "original_height": "480", "attribution_passes_lang_id": "false",
        "context_page_description": "Zeile 1\nZeile 2",
    }
    assert rows[1]["texts"] == [{"text": "Deutsch: Haus", "kind": "attribution", "lang": "de"}]
    assert [item["fault"] for item in rows] == [None, None, "url: empty", "line: 3 fields, wanted 17"]
    assert rows[0]["source_id"] == "wit_v1.train.all-00000-of-00010#0"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["language", "image_ur", COLUMNS[6]], "has no column 'image_url'; .* Did you mean 'image_ur'"),
        (["language", "image_url", "caption"], "has no column 'caption_reference_description'"),
    ],
)
def test_a_missing_column_is_named(tmp_path, read, columns, words):
    with pytest.raises(SourceError, match=words):
        read(kind="wit", path=write(tmp_path, [], columns))


def test_an_empty_file(tmp_path, read):
    (tmp_path / "a.tsv").write_text("")
    with pytest.raises(SourceError, match="no header line"):
        read(kind="wit", path=str(tmp_path / "a.tsv"))


def test_the_real_rows(real_data, read):
    rows = read(kind="wit", path=str(real_data / "image_text/wit_like/concadia_as_wit.tsv"))
    assert len(rows) == 100
    assert all(item["fault"] is None and {text["lang"] for text in item["texts"]} == {"en"} for item in rows)
    assert {text["kind"] for item in rows for text in item["texts"]} == {"reference", "alt"}
